// The small pieces: status, problem, empty state, copy button, labeled value.
import React, { Component, useState } from 'react'
import type { CallProblem } from '../logic/calls'
import type { StepStatus } from '../logic/types'
import { NOT_MEASURED, withoutRemedy } from '../logic/format'
import { Icon, type IconName } from './icon'

const MARKS: Record<StepStatus, IconName> = {
  waiting: 'dot',
  queued: 'clock',
  running: 'play',
  suspended: 'pause',
  success: 'check',
  failure: 'cross',
  canceled: 'ban',
  skipped: 'dash',
}

/** A status as a mark and a word: color is never the only sign. */
export function Status({ status }: { status: StepStatus }) {
  return (
    <span className={`status status-${status in MARKS ? status : 'waiting'}`}>
      <Icon name={MARKS[status] ?? 'question'} className="mark" />
      {status}
    </span>
  )
}

/** A value that may not have been measured. */
export function Value({ children, title }: { children: string; title?: string }) {
  return (
    <span className={children === NOT_MEASURED ? 'unmeasured' : undefined} title={title}>
      {children}
    </span>
  )
}

export function Field({ label, children }: { label: string; children: React.ReactNode }) {
  return (
    <div className="field">
      <dt>{label}</dt>
      <dd>{children}</dd>
    </div>
  )
}

const MAX_SHOWN_CHARACTERS = 1200
const MAX_SHOWN_LINES = 12

/** Text of any length: its beginning, and the rest in a box of its own that scrolls. */
export function LongText({ text, label }: { text: string; label: string }) {
  const [open, setOpen] = useState(false)
  const lines = text.split('\n')
  const long = lines.length > MAX_SHOWN_LINES || text.length > MAX_SHOWN_CHARACTERS
  const beginning = lines.slice(0, MAX_SHOWN_LINES).join('\n').slice(0, MAX_SHOWN_CHARACTERS)
  return (
    <div className="long-text">
      <pre tabIndex={0} role="region" aria-label={label} className={open ? 'open' : undefined}>
        {open || !long ? text : beginning + '\n…'}
      </pre>
      {long && (
        <button type="button" className="link" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? 'Show less' : `Show all ${lines.length.toLocaleString('en-US')} lines`}
        </button>
      )}
    </div>
  )
}

/** What went wrong and what to do about it. */
export function ProblemBox({
  title,
  problem,
  children,
}: {
  title: string
  problem: Pick<CallProblem, 'message' | 'remedy'> & { name?: string | null; category?: string | null }
  children?: React.ReactNode
}) {
  return (
    <section className="problem" role="alert" aria-label={title}>
      <h2>
        <Icon name="cross" /> {title}
        {problem.category && <span className="tag">{problem.category}</span>}
      </h2>
      <LongText text={withoutRemedy(problem.message, problem.remedy)} label="Error message" />
      {problem.remedy && (
        <p className="remedy">
          <strong>What to do:</strong> {problem.remedy}
        </p>
      )}
      {children}
    </section>
  )
}

export function Empty({ title, children }: { title: string; children?: React.ReactNode }) {
  return (
    <div className="empty">
      <p className="empty-title">{title}</p>
      {children && <p>{children}</p>}
    </div>
  )
}

export function Loading({ what }: { what: string }) {
  return (
    <div className="empty" role="status">
      <p>Reading {what}…</p>
    </div>
  )
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState<boolean | null>(null)
  const copy = async () => {
    setCopied(await copyText(text))
    setTimeout(() => setCopied(null), 2000)
  }
  return (
    <button type="button" className="quiet copy" onClick={copy} aria-label={`Copy ${label}`} title={`Copy ${label}`}>
      <Icon name={copied === null ? 'copy' : copied ? 'check' : 'cross'} />
      <span role="status" className="hidden">
        {copied === null ? '' : copied ? 'Copied' : 'The browser does not allow copying'}
      </span>
    </button>
  )
}

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const area = document.createElement('textarea')
    area.value = text
    document.body.append(area)
    area.select()
    const done = document.execCommand('copy')
    area.remove()
    return done
  }
}

/** A link only when it is one: anything but http and https stays text. */
export function SafeLink({ url, children }: { url: string | null | undefined; children: React.ReactNode }) {
  if (!url || !/^https?:\/\//i.test(url)) return <>{children}</>
  return (
    <a href={url} target="_blank" rel="noreferrer noopener">
      {children} <Icon name="out" />
    </a>
  )
}

type BoundaryProps = { children: React.ReactNode; name: string; read: unknown }

/** A view that cannot show what it was given says so; the rest of the page stays. It is tried again with each new `read`. */
export class Boundary extends Component<BoundaryProps, { error: Error | null }> {
  state = { error: null as Error | null }
  componentDidUpdate(before: BoundaryProps) {
    if (this.state.error && before.read !== this.props.read) this.setState({ error: null })
  }
  static getDerivedStateFromError(error: Error) {
    return { error }
  }
  render() {
    if (!this.state.error) return this.props.children
    return (
      <ProblemBox
        title={`${this.props.name} cannot be shown`}
        problem={{
          message: this.state.error.message,
          remedy: 'What the server answered has a form that this page does not know: deploy the bundle and this page from the same version.',
        }}
      />
    )
  }
}
