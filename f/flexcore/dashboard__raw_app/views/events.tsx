// What was reported along the way, newest last, each with its cause.
import React from 'react'
import type { Step, StepEvent } from '../logic/types'
import { formatClock, formatTime } from '../logic/format'
import { Empty } from '../parts/basics'
import { Icon } from '../parts/icon'

const MAX_EVENTS = 500

type Told = StepEvent & { step: string }

export function eventsOf(steps: Step[]): Told[] {
  const all = steps.flatMap((step) => (step.events ?? []).map((event) => ({ ...event, step: step.id })))
  return all.sort((a, b) => (a.at ?? '').localeCompare(b.at ?? ''))
}

export function EventFeed({ steps }: { steps: Step[] }) {
  const events = eventsOf(steps)
  if (!events.length) return <Empty title="No events were reported">Runtimes report what they see: a pod that waits for room, a restart, a moved deadline.</Empty>
  return (
    <>
      {events.length > MAX_EVENTS && <p className="muted">The last {MAX_EVENTS} of {events.length.toLocaleString('en-US')} events.</p>}
      <ol className="feed" aria-label="Events">
        {events.slice(-MAX_EVENTS).map((event, index) => (
          <li key={index} className={/fail|error|warn/i.test(event.kind) ? 'feed-bad' : undefined}>
            <time dateTime={event.at ?? undefined} title={formatTime(event.at, true)}>
              {formatClock(event.at)}
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
