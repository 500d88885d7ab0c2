// Each runtime: whether it answers, what it can do, what room it has, what waits, and who holds a lease.
import React from 'react'
import { LongText, Value } from '../parts/basics'
import { useNow, usePage } from '../parts/context'
import { Icon } from '../parts/icon'
import { formatAge, formatNumber, formatTime, NOT_MEASURED } from '../logic/format'
import { formatRoute } from '../logic/route'
import type { Runtime } from '../logic/types'
import { View } from './view'

function Health({ healthy }: { healthy: boolean | null }) {
  const [mark, text, kind] = healthy === null ? (['question', 'not checked', 'waiting'] as const) : healthy ? (['check', 'healthy', 'success'] as const) : (['cross', 'unhealthy', 'failure'] as const)
  return (
    <span className={`status status-${kind}`}>
      <Icon name={mark} className="mark" />
      {text}
    </span>
  )
}

function capability(value: unknown): string {
  if (value === true) return 'yes'
  if (value === false) return 'no'
  if (value === null || value === undefined) return NOT_MEASURED
  if (Array.isArray(value)) return value.length ? value.map(String).join(', ') : 'none'
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function free(name: string, value: number | null): string {
  if (value !== null && /bytes|memory/i.test(name)) return `${formatNumber(value / 2 ** 30, 1)} GiB`
  return formatNumber(value, 2)
}

const words = (name: string) => name.replace(/_(bytes|s)$/, '').replaceAll('_', ' ')

function RuntimeCard({ runtime, now }: { runtime: Runtime; now: number }) {
  const room = Object.entries(runtime.free ?? {})
  const abilities = Object.entries(runtime.capabilities ?? {})
  const leases = runtime.leases ?? null
  return (
    <article className="card" aria-label={runtime.name}>
      <div className="card-head">
        <h3>{runtime.name}</h3>
        <Health healthy={runtime.healthy} />
      </div>
      {runtime.resource && <p className="mono muted">{runtime.resource}</p>}
      {runtime.problem && (
        <div className={runtime.healthy ? 'card-problem card-hint' : 'card-problem'}>
          <LongText text={runtime.problem} label={`Problem of ${runtime.name}`} />
          {runtime.remedy && (
            <p className="remedy">
              <strong>What to do:</strong> {runtime.remedy}
            </p>
          )}
        </div>
      )}
      <dl className="fields">
        {room.map(([name, value]) => (
          <div className="field" key={name}>
            <dt>free {words(name)}</dt>
            <dd>
              <Value>{free(name, value)}</Value>
            </dd>
          </div>
        ))}
        <div className="field">
          <dt>queue</dt>
          <dd>
            <Value>{formatNumber(runtime.queue)}</Value>
          </dd>
        </div>
        <div className="field">
          <dt>leases</dt>
          <dd>
            {leases === null ? (
              <Value>{NOT_MEASURED}</Value>
            ) : leases.length ? (
              <ul>
                {leases.map((lease) => (
                  <li key={lease.name}>
                    <span className="mono">{lease.name}</span> held by {/^[0-9a-f-]{36}$/.test(lease.owner) ? <a href={formatRoute('executions', lease.owner)}>{lease.owner}</a> : lease.owner}, ends <span title={formatTime(lease.until, true)}>{formatAge(lease.until, now)}</span>
                  </li>
                ))}
              </ul>
            ) : (
              'none'
            )}
          </dd>
        </div>
      </dl>
      {abilities.length > 0 && (
        <details>
          <summary>Capabilities ({abilities.length})</summary>
          <dl className="fields">
            {abilities.map(([name, value]) => (
              <div className="field" key={name}>
                <dt>{words(name)}</dt>
                <dd>{capability(value)}</dd>
              </div>
            ))}
          </dl>
        </details>
      )}
      <p className="muted card-foot">{runtime.checked_at ? `Checked ${formatAge(runtime.checked_at, now)}` : 'Not checked yet'}</p>
    </article>
  )
}

export function RuntimesView() {
  const { state } = usePage()
  const now = useNow(5)
  return (
    <View
      title="Runtimes"
      intro="Where work can run: whether each answers, what room it has and what waits there."
      what="the runtimes"
      items={state.data.runtimes}
      empty={['No runtime is set up', 'Create a resource of type c_ray_cluster, c_kubernetes_cluster or c_meltano_project in this workspace.']}
    >
      {(runtimes) => (
        <div className="cards">
          {runtimes.map((runtime) => (
            <RuntimeCard key={`${runtime.name}/${runtime.resource}`} runtime={runtime} now={now} />
          ))}
        </div>
      )}
    </View>
  )
}
