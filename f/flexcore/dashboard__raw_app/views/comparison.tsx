// Which runtime does a workflow best: measured, with how many runs each figure stands on.
import React from 'react'
import { Empty, Value } from '../parts/basics'
import { LineChart, type Series } from '../parts/chart'
import { setParams, usePage } from '../parts/context'
import { daysBetween, durationMarks } from '../logic/chart'
import { formatCount, formatDuration, formatMoney, formatNumber, formatPercent, formatTime, NOT_MEASURED, shortDuration } from '../logic/format'
import type { Comparison, RuntimeSummary } from '../logic/types'
import { View } from './view'

/** Below this many runs a figure says little; the page says so. */
const FEW_RUNS = 5

function Summaries({ comparison }: { comparison: Comparison }) {
  const best = comparison.recommendation?.runtime
  // With how many runs the figure stands on.
  const cell = (text: string, samples: number | undefined) => (
    <td className="end">
      <Value>{text}</Value>
      {samples !== undefined && samples < FEW_RUNS && text !== NOT_MEASURED && <span className="tag tag-warn">few</span>}
      {samples !== undefined && <div className="muted">{formatCount(samples, 'run')}</div>}
    </td>
  )
  const line = (one: RuntimeSummary) => (
    <tr key={one.runtime} className={one.runtime === best ? 'best' : undefined}>
      <th scope="row">
        {one.runtime}
        {one.runtime === best && <span className="tag tag-good">recommended</span>}
        {one.note && <div className="muted">{one.note}</div>}
      </th>
      {cell(formatPercent(one.success_rate), one.runs)}
      {cell(formatDuration(one.p50_s), one.samples)}
      {cell(formatDuration(one.p95_s), one.samples)}
      {cell(formatNumber(one.rows_per_s), one.rows_samples)}
      {cell(formatMoney(one.cost, one.currency), one.cost_samples)}
    </tr>
  )
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label={`Runtimes for ${comparison.workflow}`}>
      <table>
        <thead>
          <tr>
            <th scope="col">Runtime</th>
            {['Success', 'p50', 'p95', 'Rows/s', 'Cost per run'].map((name) => (
              <th scope="col" key={name} className="end">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{comparison.runtimes.map(line)}</tbody>
      </table>
    </div>
  )
}

/** Which runs the figures are of. */
function Span({ comparison }: { comparison: Comparison }) {
  const { runs, since, until, newest } = comparison
  if (runs === undefined) return null
  return (
    <p className="muted">
      Of {formatCount(runs, 'run')}
      {since && until && `, begun ${formatTime(since)} to ${formatTime(until)}`}.
      {newest != null &&
        ` Of the executions that the run index does not have, only the newest ${newest} of all workflows were read; the schedule f/flexcore/dashboard/maintain keeps the index.`}
    </p>
  )
}

function Days({ comparison }: { comparison: Comparison }) {
  const days = comparison.days ?? []
  if (days.length < 2) return null
  const labels = daysBetween(days.map((day) => day.day))
  const at = new Map(days.map((day) => [`${day.runtime} ${day.day}`, day]))
  const runtimes = [...new Set(days.map((day) => day.runtime))].sort()
  const both: Series[] = runtimes.flatMap((runtime) => [
    { name: `${runtime} p50`, of: runtime, values: labels.map((day) => at.get(`${runtime} ${day}`)?.p50_s ?? null) },
    { name: `${runtime} p95`, of: runtime, faint: true, values: labels.map((day) => at.get(`${runtime} ${day}`)?.p95_s ?? null) },
  ])
  // A p95 that no day has runs enough for is no line.
  const series = both.filter((one) => !one.faint || one.values.some((value) => value !== null))
  return (
    <LineChart
      title={`Duration by day, ${labels[0]} to ${labels[labels.length - 1]} (UTC)`}
      labels={labels}
      series={series}
      marksOf={durationMarks}
      format={shortDuration}
      formatCell={formatDuration}
      shortLabel={(day) => day.slice(5)}
    />
  )
}

export function ComparisonView() {
  const { state, route } = usePage()
  const all = state.data.comparison
  const workflows = (all ?? []).map((one) => one.workflow)
  const chosen = route.params.workflow && workflows.includes(route.params.workflow) ? route.params.workflow : undefined
  const tools = workflows.length > 1 && (
    <label className="inline">
      Workflow{' '}
      <select value={chosen ?? ''} onChange={(event) => setParams(route, { workflow: event.target.value || undefined })}>
        <option value="">all workflows</option>
        {workflows.map((workflow) => (
          <option key={workflow}>{workflow}</option>
        ))}
      </select>
    </label>
  )
  return (
    <View
      title="Comparison"
      intro="The same workflow on different runtimes. Quantiles are of successful runs; a figure that was not measured is left out of them."
      what="the comparison"
      items={all}
      tools={tools}
      empty={['There is nothing to compare yet', 'Run a workflow on two runtimes, or start f/flexcore/benchmark_runtimes.']}
    >
      {(comparisons) => (
        <>
          {comparisons
            .filter((one) => !chosen || one.workflow === chosen)
            .map((one) => (
              <article className="card" key={one.workflow} aria-label={one.workflow}>
                <h3>{one.workflow}</h3>
                {one.recommendation ? (
                  <p>
                    Use <b>{one.recommendation.runtime}</b>: {one.recommendation.reason}
                  </p>
                ) : (
                  <p className="muted">No recommendation{one.no_choice ? `: ${one.no_choice}` : ''}.</p>
                )}
                <Span comparison={one} />
                {(one.runtimes ?? []).length ? <Summaries comparison={one} /> : <Empty title="No runs were measured" />}
                <Days comparison={one} />
              </article>
            ))}
        </>
      )}
    </View>
  )
}
