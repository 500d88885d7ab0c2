// A table of any number of rows of which only those in sight exist, to be walked with the keyboard.
import { useVirtualizer } from '@tanstack/react-virtual'
import React, { useEffect, useLayoutEffect, useRef, useState } from 'react'

export type Column<T> = { key: string; name: React.ReactNode; width: string; align?: 'end'; cell: (row: T) => React.ReactNode }

type Props<T> = {
  label: string
  rows: T[]
  columns: Column<T>[]
  rowHeight: number
  idOf: (row: T) => string
  onOpen: (row: T) => void
  selected?: string | null
  className?: string
  height?: number
  nearEnd?: () => void
  place?: { offset: number }
  foot?: React.ReactNode
}

const PAGE_ROWS = 10
const NEAR_END_ROWS = 30

export function Grid<T>(props: Props<T>) {
  const { rows, columns, rowHeight, idOf, onOpen, nearEnd } = props
  const box = useRef<HTMLDivElement>(null)
  const [active, setActive] = useState<string | null>(null)
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => rowHeight,
    overscan: 8,
    getItemKey: (index) => idOf(rows[index]!),
    useFlushSync: false,
  })
  useEffect(() => {
    virtual.measure()
  }, [virtual, rowHeight])
  const place = props.place
  useLayoutEffect(() => {
    const shown = box.current
    if (!place || !shown) return
    shown.scrollTop = place.offset
    return () => {
      place.offset = shown.scrollTop
    }
  }, [place])
  const items = virtual.getVirtualItems()
  const last = items[items.length - 1]?.index ?? 0
  useEffect(() => {
    if (rows.length && last >= rows.length - NEAR_END_ROWS) nearEnd?.()
  }, [last, rows.length, nearEnd])

  const at = active === null ? -1 : rows.findIndex((row) => idOf(row) === active)
  const move = (index: number) => {
    const to = Math.max(0, Math.min(rows.length - 1, index))
    if (!rows[to]) return
    setActive(idOf(rows[to]))
    virtual.scrollToIndex(to)
  }
  const onKeyDown = (event: React.KeyboardEvent) => {
    const steps: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + PAGE_ROWS,
      PageUp: at - PAGE_ROWS,
      Home: 0,
      End: rows.length - 1,
    }
    const to = steps[event.key]
    if (to !== undefined) {
      event.preventDefault()
      move(to)
    } else if (event.key === 'Enter' && rows[at] && event.target === box.current) {
      onOpen(rows[at])
    }
  }
  const template = columns.map((column) => column.width).join(' ')
  return (
    <div className={`grid ${props.className ?? ''}`} role="grid" aria-label={props.label} aria-rowcount={rows.length + 1} aria-colcount={columns.length} style={props.height ? { height: props.height } : undefined}>
      <div role="rowgroup" className="grid-head">
        <div role="row" aria-rowindex={1} className="grid-row" style={{ gridTemplateColumns: template }}>
          {columns.map((column) => (
            <div key={column.key} role="columnheader" className={column.align}>
              {column.name}
            </div>
          ))}
        </div>
      </div>
      <div
        ref={box}
        role="rowgroup"
        className="grid-body"
        tabIndex={0}
        aria-label={`${props.label}: arrow keys move, Enter opens`}
        aria-activedescendant={at >= 0 ? `row-${active}` : undefined}
        onKeyDown={onKeyDown}
        onFocus={() => at < 0 && rows[0] && setActive(idOf(rows[0]))}
      >
        <div className="grid-span" role="presentation" style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const row = rows[item.index]!
            const id = idOf(row)
            const state = `${id === active ? ' active' : ''}${id === props.selected ? ' selected' : ''}`
            return (
              <div
                key={item.key}
                id={`row-${id}`}
                role="row"
                aria-rowindex={item.index + 2}
                aria-selected={id === (props.selected ?? active)}
                className={`grid-row${state}`}
                style={{ gridTemplateColumns: template, height: rowHeight, transform: `translateY(${item.start}px)` }}
                onClick={(event) => {
                  if ((event.target as HTMLElement).closest('a,button')) return
                  setActive(id)
                  onOpen(row)
                }}
              >
                {columns.map((column) => (
                  <div key={column.key} role="gridcell" className={column.align} data-column={column.key}>
                    {column.cell(row)}
                  </div>
                ))}
              </div>
            )
          })}
        </div>
        {props.foot}
      </div>
    </div>
  )
}
