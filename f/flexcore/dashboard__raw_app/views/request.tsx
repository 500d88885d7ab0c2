// The request beside that of the last good run, with what differs marked.
import React, { useState } from 'react'
import { compareRequests } from '../logic/diff'
import { formatCount } from '../logic/format'
import { formatRoute } from '../logic/route'
import type { Detail } from '../logic/types'
import { Copy, Empty } from '../parts/basics'

const MARKS = { same: '', changed: '≠', added: '+', removed: '−' }

export function RequestDiff({ detail }: { detail: Detail }) {
  const [all, setAll] = useState(false)
  if (!detail.request) return <Empty title="The request is not known">Windmill keeps it as long as the job; the run index does not hold it.</Empty>
  const { last_good: good } = detail
  const fields = compareRequests(good?.request ?? null, detail.request)
  const differing = fields.filter((field) => field.change !== 'same')
  const shown = good && !all && differing.length ? differing : fields
  return (
    <div className="request">
      <div className="filters">
        <p className="summary" role="status">
          {good ? (
            <>
              {differing.length ? formatCount(differing.length, 'difference') : 'No difference'} from the last good run <a href={formatRoute('executions', good.id)}>{good.id}</a>
            </>
          ) : (
            'No good run of this workflow is known to compare with.'
          )}
        </p>
        {good && differing.length > 0 && (
          <label className="inline">
            <input type="checkbox" checked={all} onChange={(event) => setAll(event.target.checked)} /> Show all fields
          </label>
        )}
        <Copy text={JSON.stringify(detail.request, null, 2)} label="request as JSON" />
      </div>
      <div className="scroll-x" tabIndex={0} role="region" aria-label="Fields of the request">
        <table>
          <thead>
            <tr>
              <th scope="col">Field</th>
              <th scope="col">This run</th>
              {good && <th scope="col">Last good run</th>}
            </tr>
          </thead>
          <tbody>
            {shown.map((field) => (
              <tr key={field.path} className={`diff diff-${field.change}`}>
                <th scope="row" className="mono">
                  <span className="diff-mark" aria-hidden="true">
                    {MARKS[field.change]}
                  </span>
                  {field.path}
                  {field.change !== 'same' && <span className="hidden"> ({field.change})</span>}
                </th>
                <td className="mono">{field.after ?? <span className="unmeasured">not set</span>}</td>
                {good && <td className="mono">{field.before ?? <span className="unmeasured">not set</span>}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  )
}
