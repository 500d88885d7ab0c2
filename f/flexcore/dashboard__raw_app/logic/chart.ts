// Scales of a chart: round marks on an axis, and points as a path with gaps where nothing was measured.

const STEPS = [1, 2, 2.5, 5, 10]

/** Round values from 0 to at least `max`, at most `most` + 1 of them. */
export function axisMarks(max: number, most = 4): number[] {
  if (!(max > 0)) return [0, 1]
  const raw = max / most
  const power = 10 ** Math.floor(Math.log10(raw))
  const step = (STEPS.find((candidate) => candidate * power >= raw - 1e-12) ?? 10) * power
  const marks: number[] = []
  for (let index = 0; index === 0 || (index - 1) * step < max - 1e-9; index++) marks.push(Number((index * step).toPrecision(12)))
  return marks
}

const DURATIONS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400]

/** Marks of an axis of seconds: whole minutes and hours rather than hundreds of seconds. */
export function durationMarks(max: number, most = 4): number[] {
  const step = DURATIONS_S.find((candidate) => max / candidate <= most)
  if (!(max > 0) || step === undefined) return axisMarks(max, most)
  return Array.from({ length: Math.max(1, Math.ceil(max / step - 1e-9)) + 1 }, (_, index) => Number((index * step).toPrecision(12)))
}

export type Point = { x: number; y: number | null }

/** An SVG path through the points; a value that was not measured leaves a gap. */
export function linePath(points: Point[]): string {
  let path = ''
  let open = false
  for (const { x, y } of points) {
    if (y === null || !Number.isFinite(y)) {
      open = false
      continue
    }
    path += `${open ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`
    open = true
  }
  return path
}

/** Every day between the first and the last, so that a gap of days is seen as one; YYYY-MM-DD. */
export function daysBetween(days: string[]): string[] {
  const known = [...new Set(days)].sort()
  const first = Date.parse(`${known[0]}T00:00:00Z`)
  const last = Date.parse(`${known[known.length - 1]}T00:00:00Z`)
  if (!Number.isFinite(first) || !Number.isFinite(last)) return known
  const all: string[] = []
  for (let at = first; at <= last && all.length < 1200; at += 86_400_000) all.push(new Date(at).toISOString().slice(0, 10))
  return all
}
