// The result as data, and what each step handed on.
import React from 'react'
import type { Detail } from '../logic/types'
import { Empty } from '../parts/basics'
import { Data, Fields } from '../parts/json'

export function ResultPanel({ detail }: { detail: Detail }) {
  const handed = (detail.steps ?? []).filter((step) => step.output)
  return (
    <div className="result">
      {handed.length > 0 && (
        <section aria-label="Manifests">
          <h3>Manifests</h3>
          <div className="cards">
            {handed.map((step) => (
              <article className="card" key={step.id}>
                <h4>{step.id}</h4>
                <Fields value={step.output!} />
              </article>
            ))}
          </div>
        </section>
      )}
      <section aria-label="Result">
        <h3>Result</h3>
        {detail.result === null || detail.result === undefined ? (
          <Empty title="There is no result yet" />
        ) : (
          <>
            {detail.cut && <p className="muted">The result is longer than 64 KB; this is its beginning.</p>}
            <Data value={detail.result} label="Result as JSON" />
          </>
        )}
      </section>
    </div>
  )
}
