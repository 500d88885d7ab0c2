// Where data are awaited: what is being read, when the next read is if the jobs of the hour are used up, what failed.
import React from 'react'
import { MAX_JOBS_PER_HOUR } from '../logic/budget'
import { formatTime } from '../logic/format'
import type { Part } from '../logic/store'
import { Loading } from './basics'
import { useNow, usePage } from './context'

/** "Next read in 32 s: …" when a click has to wait; else nothing. */
export function NextRead() {
  const { store } = usePage()
  useNow(1)
  const wait = Math.ceil(store.wait())
  return wait > 0 ? <span role="status">{`Next read in ${wait} s: this page starts at most ${MAX_JOBS_PER_HOUR} jobs an hour.`}</span> : null
}

/** In place of a part that has not been read yet. */
export function Waiting({ part, what }: { part: Part; what: string }) {
  const { state, store } = usePage()
  if (state.reading) return <Loading what={what} />
  const failed = state.reads[part]?.failed
  return (
    <div className="empty">
      {failed && <p className="empty-title">The workspace could not read {what}</p>}
      {failed && (
        <p>
          The notices above say why.{' '}
          <button type="button" onClick={() => void store.refresh()}>
            Try again
          </button>
        </p>
      )}
      <NextRead />
    </div>
  )
}

/** Above a part that is shown as an earlier read brought it, since the last one failed. */
export function Stale({ part }: { part: Part }) {
  const { state } = usePage()
  const read = state.reads[part]
  if (!read?.failed || !read.at) return null
  return (
    <div className="notice notice-warning" role="status">
      <strong className="notice-severity">old</strong>
      <p>Shown as of {formatTime(read.at, true)}: the last read failed. The notices above say why.</p>
    </div>
  )
}
