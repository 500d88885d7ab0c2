// The log of an execution or one of its steps, read in pages; only the lines in sight exist.
import { useVirtualizer } from '@tanstack/react-virtual'
import React, { useCallback, useEffect, useRef, useState } from 'react'
import type { CallProblem } from '../logic/calls'
import { asProblem, BUDGET } from '../logic/store'
import type { Logs, Step } from '../logic/types'
import { formatCount } from '../logic/format'
import { Empty, Loading, ProblemBox } from './basics'
import { usePage } from './context'
import { NextRead } from './reading'
import { stepName } from './timeline'

const LINE_HEIGHT = 20
const FOLLOW_INTERVAL_S = 15

// Lines of one read; the server answers with at most as many.
const PAGE_LINES = 2000

type Read = { lines: string[]; offset: number; next: number | null; total: number | null; live: boolean }
type Where = 'end' | 'earlier' | 'further'

/** The offset to read from: the end first (what failed is told there), then above or below what is held. */
function offsetOf(where: Where, held: Read | null): number {
  if (!held || where === 'end') return -PAGE_LINES
  return where === 'earlier' ? Math.max(0, held.offset - PAGE_LINES) : (held.next ?? held.offset + held.lines.length)
}

/** What is held with an answer put above or below it. */
function join(where: Where, held: Read | null, answer: Logs): Read {
  const lines = answer.lines ?? []
  if (!held || where === 'end') return { ...answer, lines }
  if (where === 'further') return { ...answer, offset: held.offset, lines: [...held.lines, ...lines] }
  const above = lines.slice(0, Math.max(0, held.offset - answer.offset))
  return { ...held, total: answer.total, offset: answer.offset, lines: [...above, ...held.lines] }
}

function NoJob({ begins, hasSteps }: { begins: boolean; hasSteps: boolean }) {
  if (hasSteps) return <Empty title="This step has no log of its own">Choose a step within it, or the whole execution.</Empty>
  return begins ? <Empty title="This step has not begun">Its log is shown here when it does.</Empty> : <Empty title="This step did not begin" />
}

type Props = { execution: string; steps: Step[]; step: string | null; live: boolean; onStep: (step: string) => void }

export function LogView({ execution, steps, step, live, onStep }: Props) {
  const { store, state } = usePage()
  const [read, setRead] = useState<Read | null>(null)
  const [problem, setProblem] = useState<CallProblem | null>(null)
  const [reading, setReading] = useState(false)
  const [find, setFind] = useState('')
  const box = useRef<HTMLDivElement>(null)
  const asked = useRef('')
  const chosen = steps.find((each) => each.id === step)
  const job = chosen?.job
  // Without a job there is no log, and none is asked for.
  const hasNoJob = job === null
  const subject = `${execution}/${step ?? ''}/${job ?? ''}`

  const load = useCallback(
    async (where: Where, held: Read | null) => {
      setReading(true)
      setProblem(null)
      try {
        const offset = offsetOf(where, held)
        const answer = await store.read<Logs>('read_logs', { execution, offset, ...(step ? { step } : {}) })
        if (asked.current === subject) setRead(join(where, held, answer))
      } catch (error) {
        if (asked.current === subject) setProblem(asProblem(error))
      }
      if (asked.current === subject) setReading(false)
    },
    [store, subject, execution, step],
  )
  useEffect(() => {
    asked.current = subject
    setRead(null)
    setProblem(null)
    setReading(false)
    if (!hasNoJob) void load('end', null)
  }, [load, subject, hasNoJob])

  const goOn = () => void load(read ? 'further' : 'end', read)
  const budgetIsUsedUp = problem?.name === BUDGET
  const follows = read ? read.live : problem !== null && (live || budgetIsUsedUp)
  useEffect(() => {
    if (!follows || reading || state.hidden) return
    const pause = budgetIsUsedUp && !read ? store.wait() : store.follow(FOLLOW_INTERVAL_S)
    const timer = setTimeout(goOn, pause * 1000)
    return () => clearTimeout(timer)
  }, [follows, problem, read, reading, load, state.hidden, store])

  const wanted = find.trim().toLowerCase()
  const lines = (read?.lines ?? []).map((text, index) => ({ text, index: index + (read?.offset ?? 0) }))
  const shown = wanted ? lines.filter((line) => line.text.toLowerCase().includes(wanted)) : lines
  const virtual = useVirtualizer({ count: shown.length, getScrollElement: () => box.current, estimateSize: () => LINE_HEIGHT, overscan: 20, useFlushSync: false })
  // The end is in sight once it is read; what is read above or below leaves the place as it is.
  const first = read !== null
  useEffect(() => {
    if (first && shown.length) virtual.scrollToIndex(shown.length - 1, { align: 'end' })
  }, [first, subject])
  return (
    <div className="logs">
      <div className="filters">
        <label>
          <span>Step</span>
          <select value={step ?? ''} onChange={(event) => onStep(event.target.value)}>
            <option value="">whole execution</option>
            {steps.map((each) => (
              <option key={each.id} value={each.id}>
                {stepName(each)}
              </option>
            ))}
          </select>
        </label>
        <label>
          <span>Find</span>
          <input type="search" value={find} onChange={(event) => setFind(event.target.value)} />
        </label>
        {read && read.offset > 0 && (
          <button type="button" onClick={() => void load('earlier', read)} disabled={reading}>
            {reading ? 'Reading…' : 'Read earlier lines'}
          </button>
        )}
        {read && read.next !== null && (
          <button type="button" onClick={() => void load('further', read)} disabled={reading}>
            {reading ? 'Reading…' : 'Read further'}
          </button>
        )}
        {read && (
          <p className="summary" role="status">
            {wanted ? `${shown.length.toLocaleString('en-US')} found in ` : ''}
            {read.total !== null && read.total > lines.length ? 'the last ' : ''}
            {formatCount(lines.length, 'line')}
            {read.total !== null && read.total > lines.length ? ` of ${read.total.toLocaleString('en-US')}` : ''}
            {read.live ? ', still written' : ''}
          </p>
        )}
      </div>
      {problem && !budgetIsUsedUp && (
        <ProblemBox title="The log cannot be read" problem={problem}>
          <button type="button" onClick={goOn} disabled={reading}>
            Try again
          </button>
        </ProblemBox>
      )}
      {budgetIsUsedUp && <NextRead />}
      {reading && !read && <Loading what="the log" />}
      {hasNoJob && <NoJob begins={live && chosen?.status !== 'skipped'} hasSteps={steps.some((each) => each.parent === step)} />}
      {read && !lines.length && !problem && <Empty title={read.live ? 'Nothing has been logged yet' : 'No log was kept'} />}
      {shown.length > 0 && (
        <div ref={box} className="log" tabIndex={0} role="region" aria-label="Log">
          <div style={{ height: virtual.getTotalSize(), position: 'relative' }}>
            {virtual.getVirtualItems().map((item) => (
              <div key={item.key} className="log-line" style={{ transform: `translateY(${item.start}px)`, height: LINE_HEIGHT }}>
                <span className="log-number" aria-hidden="true">
                  {shown[item.index]!.index + 1}
                </span>
                <code>{shown[item.index]!.text}</code>
              </div>
            ))}
          </div>
        </div>
      )}
    </div>
  )
}
