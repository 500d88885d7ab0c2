// What the page has to say of itself: the server's notices, a read that failed, a clock that is off.
import React, { useState } from 'react'
import type { Notice } from '../logic/types'
import { formatDuration, withoutRemedy } from '../logic/format'
import { usePage } from './context'
import { LongText } from './basics'
import { Icon } from './icon'

const MAX_CLOCK_SKEW_S = 90

export function clockNotice(skewS: number | null): Notice | null {
  if (skewS === null || Math.abs(skewS) < MAX_CLOCK_SKEW_S) return null
  return {
    code: 'clock',
    severity: 'info',
    message: `The clock of this computer is ${formatDuration(Math.abs(skewS))} ${skewS > 0 ? 'ahead of' : 'behind'} the server's.`,
    remedy: 'Ages and durations on this page follow the server.',
  }
}

export function Notices() {
  const { state, store } = usePage()
  const clock = clockNotice(store.skew())
  const [hidden, setHidden] = useState<string[]>([])
  const { problem } = state
  const failed: Notice | null = problem && {
    code: problem.name,
    severity: 'error',
    message: state.readAt && state.data.now ? `${problem.message} (what is shown is of the last read)` : problem.message,
    remedy: problem.remedy,
  }
  const shown = [failed, ...(state.data.notices ?? []), clock].filter((notice): notice is Notice => notice !== null && !(notice.severity === 'info' && hidden.includes(notice.message)))
  if (!shown.length) return null
  return (
    <section aria-label="Notices" className="notices">
      {shown.map((notice, index) => (
        <div key={`${notice.code}-${index}`} className={`notice notice-${notice.severity}`} role={notice.severity === 'error' ? 'alert' : 'status'}>
          <strong className="notice-severity">{notice.severity}</strong>
          <div>
            <LongText text={withoutRemedy(notice.message, notice.remedy)} label={notice.code} />
            {notice.remedy && <p className="remedy">{notice.remedy}</p>}
          </div>
          {notice.severity === 'info' && (
            <button type="button" className="quiet" aria-label={`Hide notice ${notice.code}`} title="Hide" onClick={() => setHidden([...hidden, notice.message])}>
              <Icon name="cross" />
            </button>
          )}
          {notice === failed && (
            <button type="button" onClick={() => void store.refresh()} disabled={state.reading}>
              Try again
            </button>
          )}
        </div>
      ))}
    </section>
  )
}
