// The steps of an execution as bars on one axis: what waited, started, ran and finished, and when.
import type { Step } from './types'

export const PARTS = ['queued', 'starting', 'running', 'finishing'] as const
export type PartName = (typeof PARTS)[number]
export type Bar = { part: PartName | 'whole'; from: number; to: number }
export type Lane = { step: Step; depth: number; bars: Bar[]; from: number | null; to: number | null }
// What no part accounts for is shown from this length on.
const MIN_REST_MS = 500
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

/** Whether the step has not ended yet. */
export function isOpen(step: Step): boolean {
  return step.status === 'running' || step.status === 'queued' || step.status === 'suspended'
}

/** The measured parts one after another, up to the first that is not known: those behind it could be anywhere. */
function placeParts({ parts }: Step): Bar[] {
  const bars: Bar[] = []
  let at = time(parts?.began_at ?? null)
  if (at === null) return bars
  for (const part of PARTS) {
    const seconds = parts[part] ?? null
    if (seconds === null && bars.length) break
    if (seconds === null) continue
    bars.push({ part, from: at, to: at + seconds * 1000 })
    at += seconds * 1000
  }
  return bars
}

/** Whether Windmill's clock has measured it, which knows when a step was started and nothing of its runtime. */
const isOfWindmill = ({ parts }: Step) => !!parts && !parts.began_at && parts.running !== null && parts.starting === null && parts.finishing === null

/** From `from` to `to` without parts of a runtime: until the step was started it waited for a worker. */
function fillGap(step: Step, from: number, to: number): Bar[] {
  const started = time(step.started_at) ?? (step.status === 'queued' ? to : from)
  const until = Math.min(Math.max(started, from), to)
  return [
    { part: 'queued', from, to: until },
    { part: isOfWindmill(step) ? 'running' : 'whole', from: until, to },
  ]
}

/** The parts where they were, which is before `from` for work that was submitted by an earlier step; never outside of
 * the execution, nor behind the step's end. */
function barsOf(step: Step, from: number | null, to: number | null, start: number): Bar[] {
  if (from === null || to === null) return []
  const clip = (bar: Bar): Bar => ({ ...bar, from: Math.max(bar.from, start), to: Math.min(bar.to, to) })
  const placed = placeParts(step).map(clip).filter(hasLength)
  if (!placed.length) return fillGap(step, from, to).filter(hasLength)
  const first = placed[0]!.from
  const last = placed[placed.length - 1]!.to
  const gaps = [...fillGap(step, from, Math.max(first, from)), ...fillGap(step, Math.max(last, from), to)]
  const shown = gaps.filter((bar) => bar.to - bar.from > (bar.part === 'whole' ? MIN_REST_MS : 0))
  return [...placed, ...shown].sort((a, b) => a.from - b.from)
}

const hasLength = (bar: Bar) => bar.to > bar.from

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
  const begins = steps.map((step) => time(step.created_at) ?? time(step.started_at))
  const start = begins.reduce<number>((least, at) => Math.min(least, at ?? Infinity), Infinity)
  const lanes = steps.map((step, index): Lane => {
    const from = begins[index]!
    const to = time(step.ended_at) ?? (isOpen(step) && from !== null ? Math.max(now, from) : null)
    return { step, depth: depthOf(step, byId), bars: barsOf(step, from, to, start), from, to: to ?? from }
  })
  if (!Number.isFinite(start)) return { start: 0, end: 1, lanes }
  const end = lanes.reduce((most, lane) => Math.max(most, lane.to ?? -Infinity), -Infinity)
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
