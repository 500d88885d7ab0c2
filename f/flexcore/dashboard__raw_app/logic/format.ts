// Numbers and times as people read them. Not measured is said, never shown as 0.

export const NOT_MEASURED = 'not measured'

export function formatDuration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return NOT_MEASURED
  if (seconds < 0) return '0 s'
  if (seconds < 10) return `${trim(seconds.toFixed(seconds < 1 ? 2 : 1))} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${pad(Math.floor((whole % 3600) / 60))} min`
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`
}

/** A round duration as a mark of an axis has it: "2 min", not "2 min 00 s". */
export function shortDuration(seconds: number): string {
  return seconds === 0 ? '0' : formatDuration(seconds).replace(/ 00? (s|min)$/, '').replace(/ 0 h$/, '')
}

/** A message without the remedy that flexcore's own errors end with: the page shows it by itself. */
export function withoutRemedy(message: string, remedy: string | null | undefined): string {
  return remedy && message.endsWith(remedy) ? message.slice(0, -remedy.length).trimEnd() || message : message
}

const trim = (text: string) => text.replace(/\.?0+$/, '') || '0'
const pad = (n: number) => String(n).padStart(2, '0')

/** An age in one unit: "4 min ago". A time that lies ahead is "in 4 min". */
export function formatAge(at: string | null | undefined, now: number): string {
  if (!at) return NOT_MEASURED
  const seconds = (now - Date.parse(at)) / 1000
  if (!Number.isFinite(seconds)) return at
  const ahead = seconds < -1
  const span = Math.abs(seconds)
  const text =
    span < 60
      ? `${Math.round(span)} s`
      : span < 3600
        ? `${Math.floor(span / 60)} min`
        : span < 86400
          ? `${Math.floor(span / 3600)} h`
          : `${Math.floor(span / 86400)} d`
  return ahead ? `in ${text}` : `${text} ago`
}

const WHEN: Intl.DateTimeFormatOptions = { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }
const whenFormat = new Intl.DateTimeFormat('en-US', WHEN)
const fullFormat = new Intl.DateTimeFormat('en-US', { ...WHEN, year: 'numeric', second: '2-digit', timeZoneName: 'short' })

/** A moment in the viewer's own time zone. */
export function formatTime(at: string | null | undefined, full = false): string {
  if (!at) return NOT_MEASURED
  const date = new Date(at)
  if (Number.isNaN(date.getTime())) return at
  return (full ? fullFormat : whenFormat).format(date)
}

const clockFormat = new Intl.DateTimeFormat('en-US', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })

/** The time of day of a moment, to the second. */
export function formatClock(at: string | null | undefined): string {
  const date = new Date(at ?? NaN)
  return Number.isNaN(date.getTime()) ? (at ?? NOT_MEASURED) : clockFormat.format(date)
}

export function formatNumber(value: number | null | undefined, digits = 0): string {
  if (value == null || !Number.isFinite(value)) return NOT_MEASURED
  return value.toLocaleString('en-US', { maximumFractionDigits: digits })
}

export function formatMoney(value: number | null | undefined, currency: string | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return NOT_MEASURED
  const digits = value !== 0 && Math.abs(value) < 0.01 ? 4 : 2
  return `${value.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: digits })}${currency ? ` ${currency}` : ''}`
}

export function formatPercent(share: number | null | undefined): string {
  if (share == null || !Number.isFinite(share)) return NOT_MEASURED
  const percent = share * 100
  return `${percent > 99 && percent < 100 ? trim(percent.toFixed(1)) : Math.round(percent)} %`
}

export function formatCount(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? one : many}`
}
