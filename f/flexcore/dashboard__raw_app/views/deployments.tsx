// Deployed models: versions, how the traffic is shared among them, and the way back.
import React, { useState } from 'react'
import { Copy, SafeLink, Value } from '../parts/basics'
import { usePage } from '../parts/context'
import { Dialog } from '../parts/dialog'
import { formatPercent, formatTime } from '../logic/format'
import { formatRoute } from '../logic/route'
import type { Deployment } from '../logic/types'
import { ActionButton } from './actions'
import { View } from './view'

type Version = Deployment['versions'][number]

/** The version that most of the traffic goes to. */
export const findCurrent = (versions: Version[]): Version | null => [...versions].sort((a, b) => (b.weight ?? 0) - (a.weight ?? 0))[0] ?? null

const share = (percent: number | null) => (percent === null ? null : percent / 100)

function Versions({ deployment }: { deployment: Deployment }) {
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label={`Versions of ${deployment.name}`}>
      <table>
        <thead>
          <tr>
            <th scope="col">Version</th>
            <th scope="col">Traffic</th>
            <th scope="col">Ready</th>
            <th scope="col">Deployed</th>
          </tr>
        </thead>
        <tbody>
          {deployment.versions.map((version) => (
            <tr key={version.version}>
              <th scope="row" className="mono">
                {version.version}
              </th>
              <td>
                <div className="weight">
                  <span aria-hidden="true" className="weight-bar">
                    <span style={{ width: `${(share(version.weight) ?? 0) * 100}%` }} />
                  </span>
                  <Value>{formatPercent(share(version.weight))}</Value>
                </div>
              </td>
              <td>{version.ready === null ? <span className="unmeasured">not measured</span> : version.ready ? 'ready' : <span className="bad">not ready</span>}</td>
              <td>
                {version.run ? <a href={formatRoute('executions', version.run)}>{formatTime(version.created_at)}</a> : <Value>{formatTime(version.created_at)}</Value>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function DeploymentCard({ deployment, onRollBack }: { deployment: Deployment; onRollBack: () => void }) {
  return (
    <article className="card" aria-label={deployment.name}>
      <div className="card-head">
        <h3>{deployment.name}</h3>
        <span className="tag">{deployment.namespace ? `${deployment.runtime} · ${deployment.namespace}` : deployment.runtime}</span>
        <ActionButton can={deployment.can_roll_back} onClick={onRollBack} className="danger">
          Roll back…
        </ActionButton>
      </div>
      {deployment.url && (
        <p>
          <SafeLink url={deployment.url}>
            <span className="mono">{deployment.url}</span>
          </SafeLink>{' '}
          <Copy text={deployment.url} label="address of the model" />
        </p>
      )}
      {deployment.resource && <p className="muted mono">{deployment.resource}</p>}
      <Versions deployment={deployment} />
    </article>
  )
}

function RollBackDialog({ deployment, onClose }: { deployment: Deployment; onClose: () => void }) {
  const { store } = usePage()
  const { name, namespace, resource, runtime, revision, former, former_revision } = deployment
  const current = findCurrent(deployment.versions ?? [])
  // What is shown here is what is done: what answers by then is compared with it before anything is changed.
  const seen = { ...(former_revision ? { revision: former_revision } : {}), ...(revision ? { from_revision: revision } : {}) }
  return (
    <Dialog
      title={`Roll back ${name}`}
      confirm="Roll back"
      danger
      onClose={onClose}
      act={async () => {
        await store.act('roll_back_model', { resource, runtime, name, ...(namespace ? { namespace } : {}), ...seen })
        void store.refresh()
        return <p>Traffic of {name} went back. The shares of the versions change with the next read.</p>
      }}
    >
      <p>
        Traffic of <b>{name}</b> goes back from version <b className="mono">{current?.version ?? 'unknown'}</b> to the version that answered before
        {former && (
          <>
            , <b className="mono">{former}</b>
          </>
        )}
        . Requests that are being answered end where they began.
      </p>
    </Dialog>
  )
}

export function DeploymentsView() {
  const { state } = usePage()
  const [rolling, setRolling] = useState<Deployment | null>(null)
  return (
    <>
      <View
        title="Deployments"
        intro="Models that serve, their versions and how the traffic is shared among them."
        what="the deployments"
        items={state.data.deployments}
        empty={[
          'No model is deployed on the clusters of f/flexcore/settings',
          'A pipeline with a deployment stage, or kubernetes/deploy_model and ray/deploy_model, put one here.',
        ]}
      >
        {(deployments) => (
          <div className="cards cards-wide">
            {deployments.map((deployment) => (
              <DeploymentCard key={`${deployment.runtime}/${deployment.resource}/${deployment.namespace}/${deployment.name}`} deployment={deployment} onRollBack={() => setRolling(deployment)} />
            ))}
          </div>
        )}
      </View>
      {/* Outside of the view: a read without the model must not close a question that is being answered. */}
      {rolling && <RollBackDialog deployment={rolling} onClose={() => setRolling(null)} />}
    </>
  )
}
