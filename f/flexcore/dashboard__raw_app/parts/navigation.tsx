import React from 'react'
import { formatRoute, VIEWS } from '../logic/route'
import { usePage } from './context'

export function Navigation() {
  const { route, state } = usePage()
  const counts: Partial<Record<string, number>> = {
    orphans: state.data.orphans?.length,
    runtimes: state.data.runtimes?.filter((runtime) => runtime.healthy === false).length,
  }
  return (
    <nav aria-label="Views">
      <ul>
        {VIEWS.map(([view, name]) => (
          <li key={view}>
            <a href={formatRoute(view)} aria-current={route.view === view ? 'page' : undefined}>
              {name}
              {counts[view] ? <span className="count">{counts[view]}</span> : null}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  )
}
