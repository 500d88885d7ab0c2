// The frame of a view that is one list: its title, what it is for, and its loading and empty states.
import React from 'react'
import { Empty } from '../parts/basics'
import { usePage } from '../parts/context'
import { Stale, Waiting } from '../parts/reading'

type Props<T> = {
  title: string
  intro: string
  what: string
  items: T[] | null | undefined
  empty: [title: string, hint: string]
  tools?: React.ReactNode
  children: (items: T[]) => React.ReactNode
}

export function View<T>({ title, intro, what, items, empty, tools, children }: Props<T>) {
  const { state, route } = usePage()
  const unread = state.data.unread?.[route.view] ?? []
  return (
    <div className="view">
      <div className="view-head">
        <h2>{title}</h2>
        {tools}
      </div>
      <p className="view-intro">{intro}</p>
      {items && unread.length > 0 && (
        <div className="notice notice-warning" role="status">
          <strong className="notice-severity">not whole</strong>
          <p>
            Not read: <span className="mono">{unread.join(', ')}</span>. What is there is not shown; the notices above say why.
          </p>
        </div>
      )}
      <Stale part={route.view} />
      {!items ? (
        <Waiting part={route.view} what={what} />
      ) : items.length ? (
        children(items)
      ) : unread.length ? (
        <Empty title="Nothing was found in the places that could be read" />
      ) : (
        <Empty title={empty[0]}>{empty[1]}</Empty>
      )}
    </div>
  )
}
