// A line chart as plain SVG: one color and one mark for each series, the same values as a table below it.
import React, { useEffect, useId, useRef, useState } from 'react'
import { axisMarks, linePath } from '../logic/chart'

export type Series = { name: string; values: (number | null)[]; faint?: boolean; of?: string }

type Props = {
  title: string
  labels: string[]
  series: Series[]
  format: (value: number) => string
  formatCell: (value: number | null) => string
  shortLabel?: (label: string) => string
  marksOf?: (max: number) => number[]
}

const HEIGHT = 200
const LEFT = 66
const BOTTOM = 24
const TOP = 10
const RIGHT = 10
const COLORS = 6
const LABEL_WIDTH = 90

export function LineChart({ title, labels, series, format, formatCell, shortLabel = (label) => label, marksOf = axisMarks }: Props) {
  const id = useId()
  const picture = useRef<SVGSVGElement>(null)
  const [width, setWidth] = useState(640)
  useEffect(() => {
    const watcher = new ResizeObserver(([entry]) => setWidth(Math.max(240, Math.round(entry!.contentRect.width))))
    watcher.observe(picture.current!)
    return () => watcher.disconnect()
  }, [])
  const [at, setAt] = useState<number | null>(null)
  const names = [...new Set(series.map((one) => one.of ?? one.name))]
  const color = (one: Series) => names.indexOf(one.of ?? one.name) % COLORS
  const max = Math.max(0, ...series.flatMap((one) => one.values.filter((value): value is number => value !== null)))
  const marks = marksOf(max)
  const top = marks[marks.length - 1]!
  const x = (index: number) => LEFT + (labels.length < 2 ? 0.5 : index / (labels.length - 1)) * (width - LEFT - RIGHT)
  const y = (value: number) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP)
  const every = Math.max(1, Math.ceil((labels.length * LABEL_WIDTH) / (width - LEFT)))
  const nearest = (event: React.PointerEvent<SVGSVGElement>) => {
    const box = event.currentTarget.getBoundingClientRect()
    const share = (((event.clientX - box.left) / box.width) * width - LEFT) / (width - LEFT - RIGHT)
    setAt(Math.max(0, Math.min(labels.length - 1, Math.round(share * (labels.length - 1)))))
  }
  return (
    <figure className="chart" aria-labelledby={`${id}-title`}>
      <figcaption id={`${id}-title`}>
        {title}
        <ul className="legend">
          {series.map((one) => (
            <li key={one.name}>
              <svg width="22" height="10" aria-hidden="true">
                <line x1="0" x2="22" y1="5" y2="5" className={`line line-${color(one)}${one.faint ? ' faint' : ''}`} />
              </svg>{' '}
              {one.name}
              {at !== null && <b> {formatCell(one.values[at] ?? null)}</b>}
            </li>
          ))}
          {at !== null && <li>{labels[at]}</li>}
        </ul>
      </figcaption>
      <svg
        ref={picture}
        viewBox={`0 0 ${width} ${HEIGHT}`} role="img" aria-label={`${title}; the values are in the table below`} onPointerMove={nearest} onPointerLeave={() => setAt(null)}>
        {marks.map((mark) => (
          <g key={mark}>
            <line className="axis" x1={LEFT} x2={width - RIGHT} y1={y(mark)} y2={y(mark)} />
            <text x={LEFT - 6} y={y(mark) + 4} textAnchor="end">
              {format(mark)}
            </text>
          </g>
        ))}
        {labels.map((label, index) =>
          index % every === 0 ? (
            <text key={label + index} x={x(index)} y={HEIGHT - 6} textAnchor="middle">
              {shortLabel(label)}
            </text>
          ) : null,
        )}
        {at !== null && <line className="axis cursor" x1={x(at)} x2={x(at)} y1={TOP} y2={HEIGHT - BOTTOM} />}
        {series.map((one) => (
          <g key={one.name} className={one.faint ? 'faint' : undefined}>
            <path className={`line line-${color(one)}${one.faint ? ' faint' : ''}`} d={linePath(one.values.map((value, index) => ({ x: x(index), y: value === null ? null : y(value) })))} />
            {!one.faint && one.values.map((value, index) => (value === null ? null : <circle key={index} className={`dot dot-${color(one)}`} cx={x(index)} cy={y(value)} r={labels.length > 60 ? 1.5 : 3} />))}
          </g>
        ))}
      </svg>
      <details>
        <summary>Values as a table</summary>
        <div className="scroll-x" tabIndex={0} role="region" aria-label={`${title}, values`}>
          <table>
            <thead>
              <tr>
                <th scope="col">When</th>
                {series.map((one) => (
                  <th scope="col" key={one.name} className="end">
                    {one.name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {labels.map((label, index) => (
                <tr key={label + index}>
                  <th scope="row">{label}</th>
                  {series.map((one) => (
                    <td key={one.name} className="end">
                      {formatCell(one.values[index] ?? null)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  )
}
