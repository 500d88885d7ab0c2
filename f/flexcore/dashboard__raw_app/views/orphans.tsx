// Remote objects whose execution is gone; the reconcile schedule removes them.
import React from 'react'
import { Copy, Value } from '../parts/basics'
import { useNow, usePage } from '../parts/context'
import { formatAge, formatDuration, formatTime } from '../logic/format'
import { formatRoute } from '../logic/route'
import { View } from './view'

export function OrphansView() {
  const { state } = usePage()
  const now = useNow(5)
  return (
    <View
      title="Orphans"
      intro="Remote objects whose execution has ended or is gone. The schedule of f/flexcore/operations/reconcile removes them; one that is long overdue shows that it does not run or lacks rights."
      what="the orphans"
      items={state.data.orphans}
      empty={['There are no orphans', 'On the clusters of f/flexcore/settings there is nothing that the schedule would stop.']}
    >
      {(orphans) => (
        <div className="scroll-x" tabIndex={0} role="region" aria-label="Orphans">
          <table>
            <thead>
              <tr>
                <th scope="col">Runtime</th>
                <th scope="col">Kind</th>
                <th scope="col">Name</th>
                <th scope="col">Owner</th>
                <th scope="col">Created</th>
                <th scope="col" className="end">
                  Overdue
                </th>
              </tr>
            </thead>
            <tbody>
              {orphans.map((orphan) => (
                <tr key={`${orphan.runtime}/${orphan.kind}/${orphan.name}/${orphan.uid}`}>
                  <td>{orphan.runtime}</td>
                  <td>{orphan.kind}</td>
                  <th scope="row" className="mono">
                    {orphan.name} <Copy text={orphan.name} label={`name ${orphan.name}`} />
                    {orphan.uid && <div className="muted">{orphan.uid}</div>}
                  </th>
                  <td className="mono">{orphan.owner ? <a href={formatRoute('executions', orphan.owner)}>{orphan.owner}</a> : <span className="unmeasured">unknown</span>}</td>
                  <td title={formatTime(orphan.since, true)}>
                    <Value>{formatAge(orphan.since, now)}</Value>
                  </td>
                  <td className="end">
                    <Value>{formatDuration(orphan.overdue_s)}</Value>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </View>
  )
}
