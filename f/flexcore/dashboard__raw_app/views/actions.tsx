// What can be done with an execution; every question names what will happen.
import React, { useState } from 'react'
import { Dialog } from '../parts/dialog'
import { usePage } from '../parts/context'
import { formatRoute } from '../logic/route'
import type { Bundle, Can, Detail, Restart, Stop } from '../logic/types'
import { formatCount } from '../logic/format'

type Open = 'cancel' | 'restart' | 'bundle' | 'stop' | null

export function ActionButton({ can, onClick, children, className }: { can: Can | undefined; onClick: () => void; children: React.ReactNode; className?: string }) {
  const allowed = can?.allowed === true
  const [told, setTold] = useState(false)
  const reason = can?.reason ?? 'The server did not say whether this is allowed'
  return (
    <>
      <button type="button" className={className} aria-disabled={!allowed} title={allowed ? undefined : reason} onClick={() => (allowed ? onClick() : setTold(!told))}>
        {children}
        {!allowed && <span className="hidden">: not possible. {reason}</span>}
      </button>
      {told && !allowed && (
        <p role="status" className="why-not">
          {reason}
        </p>
      )}
    </>
  )
}

/** Save base64 text as a file of the viewer. */
function download(name: string, base64: string) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
  const url = URL.createObjectURL(new Blob([bytes], { type: 'application/octet-stream' }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  document.body.append(link)
  link.click()
  link.remove()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

export function StopDialog({ workflow, onClose }: { workflow: string; onClose: () => void }) {
  const { store } = usePage()
  return (
    <Dialog
      title={`Stop all executions of ${workflow}`}
      confirm="Stop workflow"
      danger
      reason="Reason (kept in the audit)"
      onClose={onClose}
      act={async (reason) => {
        const stop = await store.act<Stop>('stop_workflow', { workflow, reason })
        void store.refresh()
        return (
          <p>
            {workflow} is stopped; {formatCount(stop.canceled?.length ?? 0, 'execution')} canceled. <a href={formatRoute('stops')}>Undo it under Stops</a>.
          </p>
        )
      }}
    >
      <p>
        Every execution of <b>{workflow}</b> that is queued, running or suspended is canceled, its remote objects are deleted, and no new one starts until the stop is undone: it
        is refused at its first step. What is
        canceled is not started again by the undo.
      </p>
    </Dialog>
  )
}

const RESTARTS: Record<string, string> = { true: 'Restart from partial results', false: 'Restart from the beginning' }

function RestartScope({ restart }: { restart: Restart }) {
  const kept = restart.kept ?? []
  // An older read_dashboard does not say it.
  if (restart.resumes === undefined) return <>Where the workflow can go on from what was finished, it does.</>
  if (!restart.resumes) return <>All of its steps run again, also those that succeeded: what they load, write or deploy is done once more.</>
  if (!kept.length) return <>Nothing was finished, so all of it runs.</>
  return (
    <>
      Kept and not run again: <b>{kept.join(', ')}</b>, as long as what was stored still verifies. The rest runs.
    </>
  )
}

export function Actions({ detail }: { detail: Detail }) {
  const { store } = usePage()
  const [open, setOpen] = useState<Open>(null)
  const { row, can } = detail
  const close = () => setOpen(null)
  const live = row.status === 'running' || row.status === 'queued' || row.status === 'suspended'
  return (
    <div className="actions" role="group" aria-label="Actions">
      {live ? (
        <ActionButton can={can?.cancel} onClick={() => setOpen('cancel')} className="danger">
          Cancel
        </ActionButton>
      ) : (
        <ActionButton can={can?.restart} onClick={() => setOpen('restart')} className={row.status === 'failure' ? 'primary' : undefined}>
          Restart
        </ActionButton>
      )}
      <button type="button" onClick={() => setOpen('stop')}>
        Stop workflow…
      </button>
      <ActionButton can={can?.debug_bundle} onClick={() => setOpen('bundle')}>
        Debug bundle
      </ActionButton>
      {open === 'cancel' && (
        <Dialog
          title="Cancel this execution"
          confirm="Cancel execution"
          danger
          reason="Reason"
          onClose={close}
          act={async (reason) => {
            await store.act('cancel_execution', { execution: row.id, reason })
            void store.refresh()
            return <p>The execution was told to stop. Its status changes with the next read.</p>
          }}
        >
          <p>
            <b>{row.workflow}</b> ({row.id}) ends as canceled, and its remote objects are stopped and deleted. Results of steps that have ended are kept.
          </p>
        </Dialog>
      )}
      {open === 'restart' && (
        <Dialog
          title={RESTARTS[String(can.restart.resumes)] ?? 'Restart'}
          confirm="Restart"
          onClose={close}
          act={async () => {
            const started = await store.act<{ execution: string }>('restart_execution', { execution: row.id })
            return (
              <p>
                Started as <a href={formatRoute('executions', started.execution)}>{started.execution}</a>.
              </p>
            )
          }}
        >
          <p>
            A new execution of <b>{row.workflow}</b> starts with the same request. <RestartScope restart={can.restart} />
          </p>
        </Dialog>
      )}
      {open === 'bundle' && (
        <Dialog
          title="Make a debug bundle"
          confirm="Make bundle"
          onClose={close}
          act={async () => {
            const bundle = await store.act<Bundle>('make_debug_bundle', { execution: row.id })
            if (bundle.base64) download(bundle.file_name, bundle.base64)
            return (
              <p>
                {bundle.base64 ? `${bundle.file_name} was saved to your downloads.` : `${bundle.file_name} was written.`}
                {bundle.uri && (
                  <>
                    {' '}
                    It is kept at <code>{bundle.uri}</code>.
                  </>
                )}
              </p>
            )
          }}
        >
          <p>Request, steps, logs, events and versions of this execution are put into one archive. Secrets are masked in it.</p>
        </Dialog>
      )}
      {open === 'stop' && <StopDialog workflow={row.workflow} onClose={close} />}
    </div>
  )
}
