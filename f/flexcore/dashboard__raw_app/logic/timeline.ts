// The steps of an execution as bars on one axis: what waited, started, ran and finished, and when.
import type { Step } from './types'

export const PARTS = ['queued', 'starting', 'running', 'finishing'] as const
export type PartName = (typeof PARTS)[number]
export type Bar = { part: PartName | 'whole'; from: number; to: number }
export type Lane = { step: Step; depth: number; bars: Bar[]; from: number | null; to: number | null }
export type Timeline = { start: number; end: number; lanes: Lane[] }

/** The name of a step within what it is in: `ray.run` of `attempts[0].attempt` for `attempts[0].attempt.ray.run`. */
export function nameInParent(step: Pick<Step, 'id' | 'parent'>): string {
  if (!step.parent || !step.id.startsWith(step.parent)) return step.id
  return step.id.slice(step.parent.length).replace(/^\./, '') || step.id
}

const time = (at: string | null): number | null => {
  const parsed = at ? Date.parse(at) : NaN
  return Number.isFinite(parsed) ? parsed : null
}

function barsOf(step: Step, from: number | null, to: number | null): Bar[] {
  if (from === null) return []
  const parts = step.parts ?? { queued: null, starting: null, running: null, finishing: null }
  const measured = PARTS.filter((part) => (parts[part] ?? 0) > 0)
  if (!measured.length) return to !== null && to > from ? [{ part: 'whole', from, to }] : []
  const bars: Bar[] = []
  let at = from
  for (const part of measured) {
    const end = at + parts[part]! * 1000
    bars.push({ part, from: at, to: end })
    at = end
  }
  // What no part accounts for (a step that still runs, or one that ended later) is shown as such.
  if (to !== null && to - at > 500) bars.push({ part: 'whole', from: at, to })
  return bars
}

function depthOf(step: Step, byId: Map<string, Step>): number {
  let depth = 0
  const seen = new Set<string>()
  for (let at = step; at.parent && !seen.has(at.id) && depth < 6; depth++) {
    seen.add(at.id)
    const parent = byId.get(at.parent)
    if (!parent) return depth + 1
    at = parent
  }
  return depth
}

/** Lanes in the order of the flow; a step that has no time yet has no bar. `now` ends what still runs. */
export function layOut(steps: Step[], now: number): Timeline {
  const byId = new Map(steps.map((step) => [step.id, step]))
  const lanes = steps.map((step): Lane => {
    const from = time(step.created_at) ?? time(step.started_at)
    const open = step.status === 'running' || step.status === 'queued' || step.status === 'suspended'
    const to = time(step.ended_at) ?? (open && from !== null ? Math.max(now, from) : null)
    const bars = barsOf(step, from, to)
    return { step, depth: depthOf(step, byId), bars, from, to: to ?? bars[bars.length - 1]?.to ?? from }
  })
  const starts = lanes.flatMap((lane) => (lane.from === null ? [] : [lane.from]))
  const ends = lanes.flatMap((lane) => [...(lane.to === null ? [] : [lane.to]), ...lane.bars.map((bar) => bar.to)])
  const start = starts.reduce((a, b) => Math.min(a, b), Infinity)
  const end = ends.reduce((a, b) => Math.max(a, b), -Infinity)
  if (!Number.isFinite(start)) return { start: 0, end: 1, lanes }
  return { start, end: Math.max(end, start + 1), lanes }
}

const TICKS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800]

/** Round distances from the start, in seconds, at most `most` of them. */
export function ticks(spanS: number, most = 6): number[] {
  const step = TICKS_S.find((candidate) => spanS / candidate <= most) ?? Math.ceil(spanS / most / 604800) * 604800
  const marks: number[] = []
  for (let index = 0; index * step <= spanS; index++) marks.push(Number((index * step).toFixed(3)))
  return marks
}
