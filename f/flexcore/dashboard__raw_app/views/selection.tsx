// Why a runtime was chosen: its candidates, the reasons, and whether the forecast came true.
import React, { useState } from 'react'
import { Value } from '../parts/basics'
import { LineChart } from '../parts/chart'
import { usePage } from '../parts/context'
import { durationMarks } from '../logic/chart'
import { formatDuration, formatMoney, formatPercent, formatTime, shortDuration } from '../logic/format'
import { formatRoute } from '../logic/route'
import type { Selection } from '../logic/types'
import { View } from './view'

const SHOWN = 20

function against(forecast: number | null, real: number | null): string | null {
  if (forecast === null || real === null || forecast <= 0) return null
  const share = real / forecast - 1
  if (Math.abs(share) < 0.05) return 'as forecast'
  return `${Math.abs(Math.round(share * 100)).toLocaleString('en-US')} % ${share > 0 ? 'longer' : 'shorter'} than forecast`
}

function Candidates({ selection }: { selection: Selection }) {
  const cell = (text: string) => (
    <td className="end">
      <Value>{text}</Value>
    </td>
  )
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label="Candidates">
      <table>
        <thead>
          <tr>
            <th scope="col">Candidate</th>
            <th scope="col" className="end">
              Forecast
            </th>
            <th scope="col" className="end">
              Forecast cost
            </th>
            <th scope="col" className="end">
              Success
            </th>
            <th scope="col">Why not</th>
          </tr>
        </thead>
        <tbody>
          {(selection.candidates ?? []).map((candidate) => (
            <tr key={candidate.runtime} className={candidate.runtime === selection.chosen ? 'best' : undefined}>
              <th scope="row">
                {candidate.runtime}
                {candidate.runtime === selection.chosen && <span className="tag tag-good">chosen</span>}
              </th>
              {cell(formatDuration(candidate.forecast_s))}
              {cell(formatMoney(candidate.forecast_cost, selection.currency))}
              {cell(formatPercent(candidate.score))}
              <td>{candidate.allowed ? (candidate.reason ?? '') : (candidate.reason ?? 'not eligible')}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function SelectionCard({ selection }: { selection: Selection }) {
  const outcome = against(selection.forecast_s, selection.real_s)
  return (
    <article className="card" aria-label={`${selection.workflow}, ${formatTime(selection.at)}`}>
      <div className="card-head">
        <h3>
          <a href={formatRoute('executions', selection.execution)}>{selection.workflow}</a>
        </h3>
        <span className="tag tag-good">{selection.chosen}</span>
        <span className="muted" title={formatTime(selection.at, true)}>
          {formatTime(selection.at)}
        </span>
      </div>
      <ul className="reasons">
        {(selection.reasons ?? []).map((reason, index) => (
          <li key={index}>{reason}</li>
        ))}
      </ul>
      <p>
        Forecast <Value>{formatDuration(selection.forecast_s)}</Value>, took <Value>{formatDuration(selection.real_s)}</Value>
        {outcome && <span className="muted"> ({outcome})</span>}; cost forecast <Value>{formatMoney(selection.forecast_cost, selection.currency)}</Value>, was{' '}
        <Value>{formatMoney(selection.real_cost, selection.currency)}</Value>
      </p>
      <Candidates selection={selection} />
    </article>
  )
}

export function SelectionView() {
  const { state } = usePage()
  const [shown, setShown] = useState(SHOWN)
  const measured = (state.data.selection ?? []).filter((one) => one.forecast_s !== null && one.real_s !== null).sort((a, b) => a.at.localeCompare(b.at))
  return (
    <View
      title="Selection"
      intro="Why each execution ran where it did, and its duration and cost against the forecast."
      what="the selections"
      items={state.data.selection}
      empty={['No runtime has been selected yet', 'A flow whose runtime is “auto” writes down its candidates; they appear here.']}
    >
      {(selections) => (
        <>
          {measured.length > 1 && (
            <div className="card">
              <LineChart
                title="Forecast against reality"
                labels={measured.map((one) => formatTime(one.at))}
                series={[
                  { name: 'forecast', values: measured.map((one) => one.forecast_s) },
                  { name: 'real', values: measured.map((one) => one.real_s) },
                ]}
                marksOf={durationMarks}
                format={shortDuration}
                formatCell={formatDuration}
              />
            </div>
          )}
          {selections.slice(0, shown).map((selection) => (
            <SelectionCard key={selection.execution} selection={selection} />
          ))}
          {selections.length > shown && (
            <button type="button" onClick={() => setShown(shown + SHOWN)}>
              Show more
            </button>
          )}
        </>
      )}
    </View>
  )
}
