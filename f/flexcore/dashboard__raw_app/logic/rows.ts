// The rows that the page holds: what a read brings is put into what is there, newest first.
import type { Executions, Filter, Row, Status } from './types'

export const MAX_ROWS = 50_000

export function newestFirst(a: Row, b: Row): number {
  return a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : a.id < b.id ? 1 : a.id > b.id ? -1 : 0
}

/** Put rows in by their id; what is listed as removed goes. */
export function mergeRows(held: Row[], brought: Row[], removed: string[] = []): Row[] {
  if (!brought.length && !removed.length) return held
  const byId = new Map(held.map((row) => [row.id, row]))
  for (const row of brought) byId.set(row.id, row)
  for (const id of removed) byId.delete(id)
  return [...byId.values()].sort(newestFirst).slice(0, MAX_ROWS)
}

/** A first page replaces its span and keeps what was loaded below it; a change is merged. Below a page without rows are
 * those of the run index. */
export function takeRead(held: Row[], read: Executions, full: boolean): Row[] {
  const brought = Array.isArray(read.rows) ? read.rows : []
  if (!full) return mergeRows(held, brought, read.removed ?? [])
  const last = brought[brought.length - 1]
  const isBelow = (row: Row) => (last ? newestFirst(row, last) > 0 : row.source === 'index')
  return mergeRows(read.older ? held.filter(isBelow) : [], brought)
}

/** Counts after a read of changes, which brings none of its own: rows that moved from one status to another. */
export function moveCounts(counts: Record<Status, number> | null, before: Row[], after: Row[]): Record<Status, number> | null {
  if (!counts || before === after) return counts
  const moved = { ...counts }
  const was = new Map(before.map((row) => [row.id, row.status]))
  for (const row of after) {
    const old = was.get(row.id)
    was.delete(row.id)
    if (old === row.status) continue
    if (old) moved[old] = Math.max(0, (moved[old] ?? 0) - 1)
    moved[row.status] = (moved[row.status] ?? 0) + 1
  }
  for (const gone of was.values()) moved[gone] = Math.max(0, (moved[gone] ?? 0) - 1)
  return moved
}

/** All that share the work; a row of an older index has at most one. */
export function runtimesOf(row: Row): string[] {
  return row.runtimes?.length ? row.runtimes : row.runtime ? [row.runtime] : []
}

/** Whether a row is one of a filter: also asked of rows that are held already, so a filter shows at once. */
export function matches(row: Row, filter: Filter): boolean {
  if (filter.workflow && row.workflow !== filter.workflow) return false
  if (filter.runtime && !runtimesOf(row).includes(filter.runtime)) return false
  if (filter.status && row.status !== filter.status) return false
  const created = Date.parse(row.created_at)
  if (filter.since && created < Date.parse(filter.since)) return false
  if (filter.until && created > Date.parse(filter.until)) return false
  return true
}
