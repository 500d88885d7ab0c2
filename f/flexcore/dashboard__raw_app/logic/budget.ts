// How often the page asks: a refresh is a job, and an open page may start at most 120 of them in any hour. A bucket of
// tokens holds that: what it holds at most plus what flows into it within an hour is 120.

export const MAX_JOBS_PER_HOUR = 120
const CAPACITY = 40
const PER_HOUR = MAX_JOBS_PER_HOUR - CAPACITY
/** What reads that nobody clicked for leave for clicks. */
export const RESERVE = 20
/** Once clicks have used that up, too, the page still reads by itself, but slower than the bucket fills. */
const MAX_PAUSE_S = 120
export const REST_INTERVAL_S = 40
export const BUSY_INTERVAL_S = 10
export const BUSY_AFTER_ACTION_S = 60
const HOUR_S = 3600
const STORED_AS = 'flexcore.budget'

type Storage = Pick<globalThis.Storage, 'getItem' | 'setItem'>
type Level = { tokens: number; at: number }

/** A reload of the page does not fill the bucket, where the browser lets a page remember. */
export class Budget {
  private level: Level

  /** clock: seconds. */
  constructor(
    private readonly clock: () => number,
    private readonly storage: Storage | null = null,
  ) {
    this.level = this.load() ?? { tokens: CAPACITY, at: clock() }
  }

  private load(): Level | null {
    try {
      const { tokens, at } = JSON.parse(this.storage?.getItem(STORED_AS) ?? 'null') ?? {}
      // A clock that was set back would otherwise stop the flow.
      return Number.isFinite(tokens) && Number.isFinite(at) ? { tokens, at: Math.min(at, this.clock()) } : null
    } catch {
      return null
    }
  }

  tokens(): number {
    const now = this.clock()
    const flown = (Math.max(0, now - this.level.at) * PER_HOUR) / HOUR_S
    this.level = { tokens: Math.min(CAPACITY, this.level.tokens + flown), at: now }
    return this.level.tokens
  }

  /** Seconds until one more job may start and `reserve` tokens are left after it; 0: now. */
  wait(reserve = 0): number {
    const missing = reserve + 1 - this.tokens()
    return missing <= 1e-9 ? 0 : (missing * HOUR_S) / PER_HOUR
  }

  /** Seconds until the page may start a job that nobody clicked for. */
  pause(): number {
    return Math.max(this.wait(), Math.min(this.wait(RESERVE), MAX_PAUSE_S))
  }

  /** Take a token. What the viewer does (a cancel) is never refused: it is taken from what flows in later. */
  take(): void {
    this.level = { tokens: this.tokens() - 1, at: this.clock() }
    try {
      this.storage?.setItem(STORED_AS, JSON.stringify(this.level))
    } catch {
      // Without storage the bucket lives as long as the page.
    }
  }
}

/** Seconds until the next read by itself. sinceAction: seconds since the viewer changed something, whose effect is awaited;
 * running: whether the execution in front runs. A click alone speeds nothing up: it brings a read of its own. */
export function nextRefresh(budget: Budget, sinceAction: number, running: boolean): number {
  const busy = running || sinceAction < BUSY_AFTER_ACTION_S
  return Math.max(busy ? BUSY_INTERVAL_S : REST_INTERVAL_S, budget.pause())
}
