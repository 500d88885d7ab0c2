// The list of executions: live, filtered, as long as it is.
import React, { useCallback, useEffect, useMemo, useState } from 'react'
import { Empty, Status } from '../parts/basics'
import { lastList, navigate, setParams, useMedia, useNow, usePage } from '../parts/context'
import { Grid, type Column } from '../parts/grid'
import { NextRead, Stale, Waiting } from '../parts/reading'
import { formatAge, formatCount, formatDuration, formatMoney, formatNumber, formatTime, NOT_MEASURED } from '../logic/format'
import { matches, runtimesOf } from '../logic/rows'
import { formatRoute } from '../logic/route'
import { filterOf, routeKey } from '../logic/store'
import { STATUSES, type Row } from '../logic/types'

const SPANS = [
  ['', 'any time'],
  ['1h', 'last hour'],
  ['24h', 'last 24 hours'],
  ['7d', 'last 7 days'],
  ['30d', 'last 30 days'],
  ['90d', 'last 90 days'],
] as const

function elapsed(row: Row, now: number): number | null {
  if (row.duration_s !== null && row.duration_s !== undefined) return row.duration_s
  if ((row.status === 'running' || row.status === 'suspended') && row.started_at) return Math.max(0, (now - Date.parse(row.started_at)) / 1000)
  return null
}

const shortName = (path: string) => path.replace(/^f\/flexcore\//, '')

function columnsOf(now: number, narrow: boolean, medium: boolean): Column<Row>[] {
  const name: Column<Row> = {
    key: 'workflow',
    name: 'Workflow',
    width: 'minmax(8rem, 1.2fr)',
    cell: (row) => (
      <a href={formatRoute('executions', row.id)} tabIndex={-1} title={row.workflow}>
        {shortName(row.workflow)}
      </a>
    ),
  }
  const status: Column<Row> = { key: 'status', name: 'Status', width: '6.75rem', cell: (row) => <Status status={row.status} /> }
  const when: Column<Row> = {
    key: 'created',
    name: 'Created',
    width: '7rem',
    cell: (row) => <span title={formatTime(row.created_at, true)}>{narrow ? formatAge(row.created_at, now) : formatTime(row.created_at)}</span>,
  }
  const duration: Column<Row> = {
    key: 'duration',
    name: 'Duration',
    width: '6.25rem',
    align: 'end',
    cell: (row) => (row.status === 'queued' ? <Dash words="not started" /> : <Dash text={formatDuration(elapsed(row, now))} />),
  }
  const trouble: Column<Row> = {
    key: 'trouble',
    name: 'What failed',
    width: 'minmax(0, 2fr)',
    cell: (row) =>
      row.error || row.failed_step ? (
        <span className="trouble" title={row.error ?? undefined}>
          {row.failed_step && <b>{row.failed_step}</b>} {row.error}
        </span>
      ) : row.source === 'index' ? (
        <span className="unmeasured" title="Windmill has forgotten the job; the row is of flexcore's own run index">
          from the run index
        </span>
      ) : null,
  }
  const figures: Column<Row>[] = [
    { key: 'rows', name: 'Rows', width: '5.5rem', align: 'end', cell: (row) => <Dash text={formatNumber(row.rows)} /> },
    { key: 'cost', name: 'Cost', width: '5.5rem', align: 'end', cell: (row) => <Dash text={formatMoney(row.cost, row.currency)} /> },
  ]
  if (narrow) return [status, name, duration, when]
  return [
    status,
    name,
    { key: 'runtime', name: 'Runtime', width: '5.75rem', cell: runtimeCell },
    when,
    duration,
    ...(medium ? [] : figures),
    trouble,
  ]
}

function runtimeCell(row: Row) {
  const names = runtimesOf(row).join(', ')
  return names ? <span title={names}>{names}</span> : <Dash words="none" />
}

/** In a dense table "not measured" is a dash with its words behind it. */
function Dash({ text = NOT_MEASURED, words = NOT_MEASURED }: { text?: string; words?: string }) {
  if (text !== NOT_MEASURED) return <>{text}</>
  return (
    <span className="unmeasured" title={words}>
      <span aria-hidden="true">–</span>
      <span className="hidden">{words}</span>
    </span>
  )
}

function Choice({ name, label, value, options }: { name: string; label: string; value: string; options: readonly (readonly [string, string])[] }) {
  const { route } = usePage()
  const listed = options.some(([option]) => option === value) ? options : [...options, [value, value] as const]
  return (
    <label>
      <span>{label}</span>
      <select value={value} onChange={(event) => setParams(route, { [name]: event.target.value || undefined })}>
        {listed.map(([option, text]) => (
          <option key={option} value={option}>
            {text}
          </option>
        ))}
      </select>
    </label>
  )
}

/** Any workflow can be named, those that were seen are offered. A name counts once it is whole: after Enter, when the field
 * is left, or when it is one of the offered or none. */
function WorkflowField({ value }: { value: string }) {
  const { state, route } = usePage()
  const [draft, setDraft] = useState(value)
  useEffect(() => setDraft(value), [value])
  const choose = (text: string) => {
    const workflow = shortName(text.trim())
    if (workflow !== value) setParams(route, { workflow: workflow || undefined })
  }
  const onChange = (text: string) => {
    setDraft(text)
    if (!text || state.workflows.includes(text)) choose(text)
  }
  return (
    <label>
      <span>Workflow</span>
      <input
        type="search"
        list="seen-workflows"
        value={draft}
        placeholder="all workflows"
        maxLength={255}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={(event) => event.key === 'Enter' && choose(draft)}
        onBlur={() => choose(draft)}
      />
      <datalist id="seen-workflows">
        {state.workflows.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
    </label>
  )
}

function Filters() {
  const { state, route } = usePage()
  const { params } = route
  const runtimes = useMemo(() => {
    const names = new Set([...(state.rows ?? []).flatMap(runtimesOf), 'meltano', 'ray', 'kubernetes'])
    return [['', 'all runtimes'], ...[...names].sort().map((name) => [name, name])] as [string, string][]
  }, [state.rows])
  const filtered = Object.keys(params).length > 0
  return (
    <form className="filters" aria-label="Filter" onSubmit={(event) => event.preventDefault()}>
      <WorkflowField value={params.workflow ?? ''} />
      <Choice name="runtime" label="Runtime" value={params.runtime ?? ''} options={runtimes} />
      <Choice name="since" label="Created" value={params.since ?? ''} options={SPANS} />
      <div className="chips" role="group" aria-label="Status">
        {STATUSES.map((status) => (
          <button
            key={status}
            type="button"
            aria-pressed={params.status === status}
            onClick={() => setParams(route, { status: params.status === status ? undefined : status })}
          >
            <Status status={status} />
            {state.counts?.[status] != null && <span className="chip-count">{state.counts[status].toLocaleString('en-US')}</span>}
          </button>
        ))}
      </div>
      {filtered && (
        <button type="button" className="link" onClick={() => navigate('executions')}>
          Clear filter
        </button>
      )}
    </form>
  )
}

export function ExecutionsView() {
  const { state, store, route } = usePage()
  const now = useNow(1)
  const narrow = useMedia('(max-width: 720px)')
  const medium = useMedia('(max-width: 1050px)')
  const minute = Math.floor(now / 60_000)
  const rows = useMemo(() => {
    const filter = filterOf(route, minute * 60_000)
    return (state.rows ?? []).filter((row) => matches(row, filter))
  }, [state.rows, route, minute])
  const nearEnd = useCallback(() => void store.loadOlder(), [store])
  const open = useCallback((row: Row) => navigate('executions', row.id), [])
  const filtered = Object.keys(route.params).length > 0
  const listed = state.listed === routeKey(route)
  const older = (
    <>
      <button type="button" className="link" onClick={nearEnd} disabled={state.loadingOlder || store.wait() > 0}>
        {state.loadingOlder ? 'Reading older executions…' : rows.length ? 'Load older executions' : 'Look further back'}
      </button>{' '}
      <NextRead />
    </>
  )
  return (
    <div className="view view-list">
      <div className="view-head">
        <h2>Executions</h2>
        {state.rows && (
          <p className="summary" role="status">
            {formatCount(rows.length, 'execution')}
            {listed && state.older ? ' so far' : ''}
          </p>
        )}
      </div>
      <Filters />
      <Stale part="executions" />
      {rows.length ? (
        <Grid
          label="Executions"
          rows={rows}
          columns={columnsOf(now, narrow, medium)}
          rowHeight={narrow ? 64 : 38}
          className={narrow ? 'grid-narrow' : undefined}
          idOf={(row) => row.id}
          onOpen={open}
          nearEnd={nearEnd}
          place={lastList}
          foot={<p className="foot">{!listed ? <NextRead /> : state.older ? older : 'That is all that Windmill and the run index know.'}</p>}
        />
      ) : !listed ? (
        <Waiting part="executions" what="executions" />
      ) : state.older ? (
        <Empty title={filtered ? 'No execution that Windmill still has matches the filter' : 'Windmill has no executions any more'}>{older}</Empty>
      ) : filtered ? (
        <Empty title="No execution matches the filter" />
      ) : (
        <Empty title="Nothing has run yet">Start a flow of the bundle, for example f/flexcore/data_pipeline; it appears here within a minute.</Empty>
      )}
    </div>
  )
}
