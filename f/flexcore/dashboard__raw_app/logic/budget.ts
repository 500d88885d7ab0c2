// How often the page asks: a refresh is a job, and an open page may start at most 120 an hour.

export const MAX_JOBS_PER_HOUR = 120
/** What refreshes leave for clicks: reads by themselves stop here, reads after a click at the maximum. */
export const MAX_REFRESHES_PER_HOUR = 96
export const REST_INTERVAL_S = 40
export const BUSY_INTERVAL_S = 10
export const BUSY_AFTER_CLICK_S = 60
const HOUR_S = 3600
const STORED_AS = 'flexcore.jobs'

type Storage = Pick<globalThis.Storage, 'getItem' | 'setItem'>

/** The starts of the last hour. A reload of the page does not reset them where the browser lets a page remember. */
export class Budget {
  private starts: number[]

  constructor(
    private readonly clock: () => number,
    private readonly storage: Storage | null = null,
  ) {
    this.starts = this.load()
  }

  private load(): number[] {
    try {
      const stored = JSON.parse(this.storage?.getItem(STORED_AS) ?? '[]')
      return Array.isArray(stored) ? stored.filter((start) => typeof start === 'number') : []
    } catch {
      return []
    }
  }

  private recent(): number[] {
    const now = this.clock()
    this.starts = this.starts.filter((start) => start > now - HOUR_S && start <= now)
    return this.starts
  }

  spent(): number {
    return this.recent().length
  }

  /** Seconds until one more job fits below `limit`; 0 when it fits now. */
  wait(limit: number): number {
    const starts = this.recent()
    if (starts.length < limit) return 0
    return starts[starts.length - limit]! + HOUR_S - this.clock()
  }

  count(): void {
    this.recent().push(this.clock())
    try {
      this.storage?.setItem(STORED_AS, JSON.stringify(this.starts))
    } catch {
      // Without storage the count lives as long as the page.
    }
  }
}

/** Seconds until the next read by itself, given how long ago the last click was and whether an open execution runs. */
export function nextRefresh(budget: Budget, sinceClick: number, running: boolean): number {
  const busy = running || sinceClick < BUSY_AFTER_CLICK_S
  return Math.max(busy ? BUSY_INTERVAL_S : REST_INTERVAL_S, budget.wait(MAX_REFRESHES_PER_HOUR))
}
