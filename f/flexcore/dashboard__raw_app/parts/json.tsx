// Plain data as text, and a manifest as a short table.
import React from 'react'
import { LongText } from './basics'

export function Data({ value, label }: { value: unknown; label: string }) {
  return <LongText text={typeof value === 'string' ? value : (JSON.stringify(value, null, 2) ?? 'null')} label={label} />
}

/** The first level of an object as a table; what is nested below it as JSON. */
export function Fields({ value }: { value: Record<string, unknown> }) {
  return (
    <dl className="fields">
      {Object.entries(value).map(([key, item]) => (
        <div className="field" key={key}>
          <dt>{key}</dt>
          <dd className="mono">{item === null ? <span className="unmeasured">null</span> : typeof item === 'object' ? JSON.stringify(item) : String(item)}</dd>
        </div>
      ))}
    </dl>
  )
}
