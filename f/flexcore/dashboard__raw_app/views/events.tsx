// What happened along the way, newest last, each with its cause.
import React from 'react'
import type { Step } from '../logic/types'
import { orderEvents } from '../logic/events'
import { formatClock, formatTime } from '../logic/format'
import { Empty } from '../parts/basics'
import { Icon } from '../parts/icon'

const MAX_EVENTS = 500

export function EventFeed({ steps }: { steps: Step[] }) {
  const events = orderEvents(steps)
  if (!events.length) return <Empty title="Nothing has happened yet">Here you see when each step was queued, began, was tried again, resumed and ended, and what its runtime noted.</Empty>
  return (
    <>
      {events.length > MAX_EVENTS && <p className="muted">The last {MAX_EVENTS} of {events.length.toLocaleString('en-US')} events.</p>}
      <ol className="feed" aria-label="Events">
        {events.slice(-MAX_EVENTS).map((event, index) => (
          <li key={index} className={/fail|error|warn/i.test(event.kind) ? 'feed-bad' : undefined}>
            <time dateTime={event.at ?? undefined} title={formatTime(event.at, true)}>
              {event.at ? formatClock(event.at) : '–'}
            </time>
            <div>
              <p>
                <span className="tag">{event.step}</span> <b>{event.kind}</b> {event.message}
              </p>
              {event.cause && (
                <p className="muted">
                  <Icon name="cause" /> because {event.cause}
                </p>
              )}
            </div>
          </li>
        ))}
      </ol>
    </>
  )
}
