// Steps on one axis, only those in sight; a click or Enter shows one in full.
import React, { useMemo } from 'react'
import { formatDuration, shortDuration } from '../logic/format'
import { layOut, nameInParent, PARTS, ticks, type Bar, type Lane } from '../logic/timeline'
import type { Step } from '../logic/types'
import { Status } from './basics'
import { useMedia } from './context'
import { Grid, type Column } from './grid'

const ROW_HEIGHT = 34
const MAX_HEIGHT = 620

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

const NO_BAR: Record<string, string> = { reused: 'result of an earlier run', waiting: '', skipped: 'not run', canceled: 'not run' }

function describe(lane: Lane): string {
  return lane.bars.map((bar) => `${NAMES[bar.part]} ${formatDuration((bar.to - bar.from) / 1000)}`).join(', ')
}

/** Marks of the axis over the bars, in seconds after the start. */
function Axis({ marks, spanS }: { marks: number[]; spanS: number }) {
  return (
    <div className="axis-marks">
      {marks.map((mark) => (
        <span key={mark} style={{ left: `${(mark / spanS) * 100}%` }}>
          {shortDuration(mark)}
        </span>
      ))}
    </div>
  )
}

function Bars({ lane, start, span, marks }: { lane: Lane; start: number; span: number; marks: number[] }) {
  const text = describe(lane)
  if (!lane.bars.length) return <span className="unmeasured">{NO_BAR[lane.step.reused ? 'reused' : lane.step.status] ?? 'not measured'}</span>
  return (
    <div className="bars" title={text}>
      <span className="hidden">{text}</span>
      {marks.map((mark) => (
        <span key={`mark-${mark}`} aria-hidden="true" className="bar-mark" style={{ left: `${((mark * 1000) / span) * 100}%` }} />
      ))}
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
  // With a step in full beside it there is room for names and bars only.
  const compact = narrow || selected !== null
  const { lanes, start, end } = useMemo(() => layOut(steps, now), [steps, now])
  const span = end - start
  const marks = ticks(span / 1000, compact ? 3 : 6)
  const columns: Column<Lane>[] = [
    {
      key: 'step',
      name: 'Step',
      width: narrow ? '7.5rem' : 'minmax(9rem, 2fr)',
      cell: (lane) => (
        <span className="step-name" style={{ paddingInlineStart: lane.depth * 14 }} title={stepName(lane.step)}>
          {nameInParent(lane.step)}
          {lane.step.summary && lane.step.summary !== nameInParent(lane.step) && !compact && <span className="muted"> {lane.step.summary}</span>}
        </span>
      ),
    },
    { key: 'status', name: 'Status', width: narrow ? '5.75rem' : '6.75rem', cell: (lane) => <Status status={lane.step.status} /> },
    { key: 'bars', name: <Axis marks={marks} spanS={span / 1000} />, width: 'minmax(4rem, 5fr)', cell: (lane) => <Bars lane={lane} start={start} span={span} marks={marks} /> },
  ]
  if (!compact) {
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
      </div>
      <Grid
        label="Steps"
        rows={lanes}
        columns={columns}
        rowHeight={ROW_HEIGHT}
        height={Math.min(lanes.length * ROW_HEIGHT + 36, MAX_HEIGHT)}
        idOf={(lane) => lane.step.id}
        onOpen={(lane) => onSelect(lane.step)}
        selected={selected}
        className="grid-steps"
      />
    </div>
  )
}
