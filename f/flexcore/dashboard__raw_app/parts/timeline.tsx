// Steps on one axis, only those in sight; a click or Enter shows one in full.
import React, { useMemo } from 'react'
import { formatDuration } from '../logic/format'
import { layOut, PARTS, ticks, type Bar, type Lane } from '../logic/timeline'
import type { Step } from '../logic/types'
import { Status } from './basics'
import { useMedia } from './context'
import { Grid, type Column } from './grid'

const NAMES: Record<Bar['part'], string> = {
  queued: 'queue',
  starting: 'start',
  running: 'run',
  finishing: 'finish',
  whole: 'not measured in parts',
}

export function stepName(step: Step): string {
  return step.summary ? `${step.id} · ${step.summary}` : step.id
}

function describe(lane: Lane): string {
  return lane.bars.map((bar) => `${NAMES[bar.part]} ${formatDuration((bar.to - bar.from) / 1000)}`).join(', ')
}

function Bars({ lane, start, span }: { lane: Lane; start: number; span: number }) {
  const text = describe(lane)
  if (!lane.bars.length) return <span className="unmeasured">{lane.step.reused ? 'result of an earlier run' : lane.step.status === 'waiting' ? '' : 'not measured'}</span>
  return (
    <div className="bars" title={text}>
      <span className="hidden">{text}</span>
      {lane.bars.map((bar, index) => (
        <span
          key={index}
          aria-hidden="true"
          className={`bar bar-${bar.part} bar-${lane.step.status}`}
          style={{ left: `${((bar.from - start) / span) * 100}%`, width: `max(2px, ${((bar.to - bar.from) / span) * 100}%)` }}
        />
      ))}
    </div>
  )
}

function Legend() {
  return (
    <ul className="legend" aria-label="Parts of a step">
      {PARTS.map((part) => (
        <li key={part}>
          <span aria-hidden="true" className={`swatch bar-${part}`} /> {NAMES[part]}
        </li>
      ))}
      <li>
        <span aria-hidden="true" className="swatch bar-whole" /> {NAMES.whole}
      </li>
    </ul>
  )
}

type Props = { steps: Step[]; now: number; selected: string | null; onSelect: (step: Step) => void }

export function StepTimeline({ steps, now, selected, onSelect }: Props) {
  const narrow = useMedia('(max-width: 720px)')
  const { lanes, start, end } = useMemo(() => layOut(steps, now), [steps, now])
  const span = end - start
  const marks = ticks(span / 1000, narrow ? 3 : 6)
  const columns: Column<Lane>[] = [
    {
      key: 'step',
      name: 'Step',
      width: narrow ? '8.5rem' : 'minmax(12rem, 20rem)',
      cell: (lane) => (
        <span className="step-name" style={{ paddingInlineStart: lane.depth * 14 }} title={stepName(lane.step)}>
          {lane.step.id}
          {lane.step.summary && !narrow && <span className="muted"> {lane.step.summary}</span>}
        </span>
      ),
    },
    { key: 'status', name: 'Status', width: narrow ? '6.5rem' : '7rem', cell: (lane) => <Status status={lane.step.status} /> },
    { key: 'bars', name: 'Time', width: 'minmax(4rem, 1fr)', cell: (lane) => <Bars lane={lane} start={start} span={span} /> },
  ]
  if (!narrow) {
    columns.push({
      key: 'length',
      name: 'Took',
      width: '6rem',
      align: 'end',
      cell: (lane) => (lane.from !== null && lane.to !== null ? formatDuration((lane.to - lane.from) / 1000) : '–'),
    })
  }
  return (
    <div className="timeline">
      <div className="timeline-head">
        <Legend />
        <p className="muted">from {marks.map((mark) => formatDuration(mark)).join(' · ')} after the start</p>
      </div>
      <Grid
        label="Steps"
        rows={lanes}
        columns={columns}
        rowHeight={34}
        idOf={(lane) => lane.step.id}
        onOpen={(lane) => onSelect(lane.step)}
        selected={selected}
        className={`grid-steps${narrow ? ' grid-compact' : ''}`}
      />
    </div>
  )
}
