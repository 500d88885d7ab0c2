// One step in full: parts, remote object, diagnosis, manifest and events.
import React, { useEffect, useRef } from 'react'
import { Copy, Field, ProblemBox, SafeLink, Status, Value } from '../parts/basics'
import { useMedia, usePage } from '../parts/context'
import { Icon } from '../parts/icon'
import { Fields } from '../parts/json'
import { formatDuration, formatTime, NOT_MEASURED } from '../logic/format'
import { formatRoute } from '../logic/route'
import { isOpen, PARTS } from '../logic/timeline'
import type { Step } from '../logic/types'
import { EventFeed } from './events'

const KNOWN_AT_END = 'known once the step ends'

function Remote({ remote }: { remote: NonNullable<Step['remote']> }) {
  return (
    <>
      <Field label={remote.kind}>
        <SafeLink url={remote.url}>
          <span className="mono">{remote.name}</span>
        </SafeLink>{' '}
        <Copy text={remote.name} label="name of the remote object" />
      </Field>
      {remote.uid && (
        <Field label="UID">
          <span className="mono">{remote.uid}</span> <Copy text={remote.uid} label="UID of the remote object" />
        </Field>
      )}
    </>
  )
}

/** isLeaf: whether the step does work itself, and is no flow of further steps. */
export function StepPanel({ step, isLeaf, onClose }: { step: Step; isLeaf: boolean; onClose: () => void }) {
  const { route } = usePage()
  const box = useRef<HTMLElement>(null)
  const narrow = useMedia('(max-width: 720px)')
  // A step tells of its remote object and attempt when it ends.
  const isUntold = isOpen(step) && isLeaf && step.runtime !== null
  useEffect(() => {
    if (narrow) box.current?.scrollIntoView({ block: 'nearest' })
  }, [step.id, narrow])
  return (
    <aside ref={box} className="step" aria-label={`Step ${step.id}`}>
      <div className="step-head">
        <h3>{step.id}</h3>
        <Status status={step.status} />
        <button type="button" className="quiet" onClick={onClose} aria-label="Close the step">
          <Icon name="cross" />
        </button>
      </div>
      {step.summary && <p>{step.summary}</p>}
      {step.reused && <p className="muted">The result is of an earlier run and was taken over.</p>}
      {step.diagnosis && <ProblemBox title="Diagnosis" problem={{ message: step.diagnosis.detail, remedy: step.diagnosis.remedy, category: step.diagnosis.category }} />}
      <dl className="fields">
        {PARTS.map((part) => (
          <Field key={part} label={part}>
            <Value>{formatDuration(step.parts?.[part])}</Value>
          </Field>
        ))}
        <Field label="runtime">{step.runtime ?? 'Windmill worker'}</Field>
        <Field label="attempt">
          <Value>{step.attempt !== null ? String(step.attempt) : isUntold ? KNOWN_AT_END : NOT_MEASURED}</Value>
        </Field>
        {step.remote && <Remote remote={step.remote} />}
        {!step.remote && isUntold && <Field label="remote object">{KNOWN_AT_END}</Field>}
        <Field label="created">{formatTime(step.created_at, true)}</Field>
        {step.started_at && <Field label="started">{formatTime(step.started_at, true)}</Field>}
        {step.ended_at && <Field label="ended">{formatTime(step.ended_at, true)}</Field>}
        {step.job && (
          <Field label="job">
            <span className="mono">{step.job}</span> <Copy text={step.job} label="job id" />
          </Field>
        )}
      </dl>
      <p>
        <a href={formatRoute('executions', route.id, { tab: 'logs', step: step.id })}>Log of this step</a>
      </p>
      {step.output && (
        <>
          <h4>Manifest</h4>
          <Fields value={step.output} />
        </>
      )}
      {(step.events ?? []).length > 0 && (
        <>
          <h4>Events</h4>
          <EventFeed steps={[step]} />
        </>
      )}
    </aside>
  )
}
