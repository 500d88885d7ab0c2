// Workflows that were stopped: who, when, why, what was canceled, and the undo.
import React, { useState } from 'react'
import { useNow, usePage } from '../parts/context'
import { Dialog } from '../parts/dialog'
import { formatAge, formatCount, formatTime } from '../logic/format'
import { formatRoute } from '../logic/route'
import type { Stop } from '../logic/types'
import { StopDialog } from './actions'
import { View } from './view'

function NewStop({ known, onStop }: { known: string[]; onStop: (workflow: string) => void }) {
  const [workflow, setWorkflow] = useState('')
  return (
    <form
      className="filters"
      aria-label="Stop a workflow"
      onSubmit={(event) => {
        event.preventDefault()
        if (workflow.trim()) onStop(workflow.trim())
      }}
    >
      <label>
        <span>Workflow</span>
        <input type="text" list="known-workflows" value={workflow} onChange={(event) => setWorkflow(event.target.value)} placeholder="f/flexcore/data_pipeline" size={34} />
      </label>
      <datalist id="known-workflows">
        {known.map((path) => (
          <option key={path} value={path} />
        ))}
      </datalist>
      <button type="submit" className="danger" disabled={!workflow.trim()}>
        Stop workflow…
      </button>
    </form>
  )
}

function StopCard({ stop, now, onUndo }: { stop: Stop; now: number; onUndo: () => void }) {
  const canceled = stop.canceled ?? []
  return (
    <article className="card" aria-label={stop.workflow}>
      <div className="card-head">
        <h3 className="mono">{stop.workflow}</h3>
        {stop.undone ? <span className="tag">undone</span> : <span className="tag tag-warn">stopped</span>}
        {!stop.undone && (
          <button type="button" onClick={onUndo}>
            Undo…
          </button>
        )}
      </div>
      <p className="quote">{stop.reason}</p>
      <p className="muted">
        Stopped by {stop.by} <span title={formatTime(stop.at, true)}>{formatAge(stop.at, now)}</span>
        {stop.undone && (
          <>
            , undone by {stop.undone.by} <span title={formatTime(stop.undone.at, true)}>{formatAge(stop.undone.at, now)}</span>
          </>
        )}
      </p>
      {canceled.length > 0 && (
        <details>
          <summary>{formatCount(canceled.length, 'canceled execution')}</summary>
          <ul>
            {canceled.slice(0, 200).map((id) => (
              <li key={id} className="mono">
                <a href={formatRoute('executions', id)}>{id}</a>
              </li>
            ))}
          </ul>
        </details>
      )}
    </article>
  )
}

export function StopsView() {
  const { state, store } = usePage()
  const now = useNow(5)
  const [stopping, setStopping] = useState<string | null>(null)
  const [undoing, setUndoing] = useState<Stop | null>(null)
  return (
    <>
      <View
        title="Stops"
        intro="Stop all of a workflow when it runs away, and undo the stop when the cause is gone. Who did it, when and why is kept."
        what="the stops"
        items={state.data.stops}
        tools={<NewStop known={state.workflows} onStop={setStopping} />}
        empty={['No workflow is stopped', 'A stop cancels everything of one workflow and keeps new executions from starting.']}
      >
        {(stops) => (
          <div className="cards cards-wide">
            {stops.map((stop) => (
              <StopCard key={stop.id} stop={stop} now={now} onUndo={() => setUndoing(stop)} />
            ))}
          </div>
        )}
      </View>
      {stopping && <StopDialog workflow={stopping} onClose={() => setStopping(null)} />}
      {undoing && (
        <Dialog
          title={`Undo the stop of ${undoing.workflow}`}
          confirm="Undo stop"
          onClose={() => setUndoing(null)}
          act={async () => {
            await store.act<Stop>('resume_workflow', { stop: undoing.id })
            void store.refresh()
            return <p>{undoing.workflow} may start again.</p>
          }}
        >
          <p>
            New executions of <b>{undoing.workflow}</b> may start again, those of its schedules too. The {formatCount((undoing.canceled ?? []).length, 'execution')} that the stop canceled stay
            canceled; restart the ones you need.
          </p>
        </Dialog>
      )}
    </>
  )
}
