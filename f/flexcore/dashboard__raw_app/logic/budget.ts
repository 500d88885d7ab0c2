// How often the page asks: a refresh is a job, and an open page may start at most 120 of them in any hour. A bucket of
// tokens holds that: what it holds at most plus what flows into it within an hour is 120.

export const MAX_JOBS_PER_HOUR = 120
const CAPACITY = 40
const PER_HOUR = MAX_JOBS_PER_HOUR - CAPACITY
/** What refreshes leave for clicks. */
export const RESERVE = 8
export const REST_INTERVAL_S = 40
export const BUSY_INTERVAL_S = 10
export const BUSY_AFTER_CLICK_S = 60
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

/** Seconds until the next read by itself, given how long ago the last click was and whether an execution in front runs. */
export function nextRefresh(budget: Budget, sinceClick: number, running: boolean): number {
  const busy = running || sinceClick < BUSY_AFTER_CLICK_S
  return Math.max(busy ? BUSY_INTERVAL_S : REST_INTERVAL_S, budget.wait(RESERVE))
}
