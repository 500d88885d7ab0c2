// One execution: what failed and what to do first, then its steps, log, request, result and events.
import React from 'react'
import { Boundary, Copy, Empty, Field, ProblemBox, SafeLink, Status, Value } from '../parts/basics'
import { lastList, navigate, setParams, useNow, usePage } from '../parts/context'
import { Icon } from '../parts/icon'
import { LogView } from '../parts/logs'
import { Stale, Waiting } from '../parts/reading'
import { StepTimeline } from '../parts/timeline'
import { formatDuration, formatMoney, formatNumber, formatTime } from '../logic/format'
import { runtimesOf } from '../logic/rows'
import { formatRoute } from '../logic/route'
import type { Detail } from '../logic/types'
import { Actions } from './actions'
import { EventFeed } from './events'
import { RequestDiff } from './request'
import { ResultPanel } from './result'
import { StepPanel } from './step'

const TABS = [
  ['timeline', 'Timeline'],
  ['logs', 'Logs'],
  ['request', 'Request'],
  ['result', 'Result'],
  ['events', 'Events'],
] as const

function Facts({ detail, now }: { detail: Detail; now: number }) {
  const { row } = detail
  const running = row.status === 'running' && row.started_at ? (now - Date.parse(row.started_at)) / 1000 : null
  return (
    <dl className="facts">
      <Field label="Duration">
        <Value>{formatDuration(row.duration_s ?? running)}</Value>
      </Field>
      <Field label="Created">
        <span title={formatTime(row.created_at, true)}>{formatTime(row.created_at)}</span> by {row.created_by}
      </Field>
      <Field label={runtimesOf(row).length > 1 ? 'Runtimes' : 'Runtime'}>{runtimesOf(row).join(', ') || '–'}</Field>
      <Field label="Rows">
        <Value>{formatNumber(row.rows)}</Value>
      </Field>
      <Field label="Cost">
        <Value>{formatMoney(row.cost, row.currency)}</Value>
      </Field>
      <Field label="Execution">
        <span className="mono">{row.id}</span> <Copy text={row.id} label="execution id" />
      </Field>
      {detail.trace && (
        <Field label="Trace">
          <SafeLink url={detail.trace.url}>
            <span className="mono">{detail.trace.id}</span>
          </SafeLink>{' '}
          <Copy text={detail.trace.id} label="trace id" />
        </Field>
      )}
    </dl>
  )
}

function Tabs({ tab }: { tab: string }) {
  const { route } = usePage()
  const onKeyDown = (event: React.KeyboardEvent) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0
    if (!step) return
    const at = TABS.findIndex(([name]) => name === tab)
    const to = TABS[(at + step + TABS.length) % TABS.length]![0]
    setParams(route, { tab: to })
    document.getElementById(`tab-${to}`)?.focus()
  }
  return (
    <div role="tablist" aria-label="Parts of the execution" className="tabs" onKeyDown={onKeyDown}>
      {TABS.map(([name, text]) => (
        <button
          key={name}
          id={`tab-${name}`}
          type="button"
          role="tab"
          aria-selected={tab === name}
          aria-controls="tab-panel"
          tabIndex={tab === name ? 0 : -1}
          onClick={() => setParams(route, { tab: name })}
        >
          {text}
        </button>
      ))}
    </div>
  )
}

function OtherVersion({ detail }: { detail: Detail }) {
  const { state } = usePage()
  const here = state.data.version
  if (!detail.version || !here || detail.version === here) return null
  return (
    <div className="notice notice-info" role="status">
      <strong className="notice-severity">info</strong>
      <p>
        This result is of flexcore {detail.version}, the workspace has {here} now. What that version did not record is shown as not measured.
      </p>
    </div>
  )
}

export function ExecutionView() {
  const { state, route } = usePage()
  const now = useNow(1)
  const detail = state.executionId === route.id ? state.data.execution : undefined
  const back = (
    <a className="back" href={formatRoute('executions', null, lastList.params)}>
      <Icon name="back" />
      Executions
    </a>
  )
  if (detail === undefined) {
    return (
      <div className="view">
        {back}
        <Waiting part="execution" what="the execution" />
      </div>
    )
  }
  if (detail === null) {
    return (
      <div className="view">
        {back}
        <Empty title="This execution is not to be found">
          Windmill has forgotten it, it never was in this workspace, or you have no right to see it. Its id: <span className="mono">{route.id}</span>
        </Empty>
      </div>
    )
  }
  const steps = detail.steps ?? []
  const tab = TABS.some(([name]) => name === route.params.tab) ? route.params.tab! : 'timeline'
  const chosen = steps.find((step) => step.id === route.params.step) ?? null
  const live = detail.row.status === 'running' || detail.row.status === 'queued' || detail.row.status === 'suspended'
  return (
    <div className="view">
      {back}
      <Stale part="execution" />
      <div className="view-head">
        <h2 className="execution-name">
          <SafeLink url={detail.url}>{detail.row.workflow}</SafeLink>
        </h2>
        <Status status={detail.row.status} />
        <Actions detail={detail} />
      </div>
      <Facts detail={detail} now={now} />
      <OtherVersion detail={detail} />
      {detail.error && (
        <ProblemBox title={detail.error.step ? `Step ${detail.error.step} failed` : 'The execution failed'} problem={detail.error}>
          <p className="muted">
            {[detail.error.name, detail.error.subject, detail.error.retryable === null ? null : detail.error.retryable ? 'may succeed when tried again' : 'fails again unless something changes']
              .filter(Boolean)
              .join(' · ')}
            {detail.error.step && (
              <>
                {' · '}
                <a href={formatRoute('executions', route.id, { tab: 'logs', step: detail.error.step })}>log of this step</a>
              </>
            )}
          </p>
        </ProblemBox>
      )}
      <Tabs tab={tab} />
      <div role="tabpanel" id="tab-panel" aria-labelledby={`tab-${tab}`} className="panel">
        {tab === 'timeline' &&
          (steps.length ? (
            <div className={chosen ? 'split' : undefined}>
              <StepTimeline steps={steps} now={live ? now : 0} selected={chosen?.id ?? null} onSelect={(step) => setParams(route, { step: step.id })} />
              {chosen && (
                <Boundary key={chosen.id} name={`Step ${chosen.id}`} read={detail}>
                  <StepPanel
                    step={chosen}
                    isLeaf={steps.every((step) => step.parent !== chosen.id)}
                    onClose={() => navigate('executions', route.id, { ...route.params, step: undefined })}
                  />
                </Boundary>
              )}
            </div>
          ) : (
            <Empty title="No steps are known">{detail.row.source === 'index' ? 'Windmill has forgotten this execution; the run index keeps its summary only.' : null}</Empty>
          ))}
        {tab === 'logs' && <LogView execution={detail.row.id} steps={steps} step={chosen?.id ?? null} live={live} onStep={(step) => setParams(route, { step: step || undefined })} />}
        {tab === 'request' && <RequestDiff detail={detail} />}
        {tab === 'result' && <ResultPanel detail={detail} />}
        {tab === 'events' && <EventFeed steps={steps} />}
      </div>
    </div>
  )
}
