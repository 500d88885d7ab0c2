import React, { useEffect, useRef } from 'react'
import { formatRoute, VIEWS } from '../logic/route'
import { usePage } from './context'

export function Navigation() {
  const { route, state } = usePage()
  const counts: Partial<Record<string, number>> = {
    orphans: state.data.orphans?.length,
    runtimes: state.data.runtimes?.filter((runtime) => runtime.healthy === false).length,
  }
  const here = useRef<HTMLAnchorElement>(null)
  useEffect(() => {
    void here.current?.scrollIntoView({ block: 'nearest', inline: 'center' })
  }, [route.view])
  return (
    <nav aria-label="Views">
      <ul>
        {VIEWS.map(([view, name]) => (
          <li key={view}>
            <a href={formatRoute(view)} ref={route.view === view ? here : undefined} aria-current={route.view === view ? 'page' : undefined}>
              {name}
              {counts[view] ? <span className="count">{counts[view]}</span> : null}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  )
}
