// Marks drawn as lines, so that they look the same with every font.
import React from 'react'

const PATHS = {
  check: 'M3 8.5l3.2 3.2L13 4.8',
  cross: 'M4 4l8 8M12 4l-8 8',
  clock: 'M8 4.2V8l2.6 1.8',
  play: 'M6 4.2l6 3.8-6 3.8z',
  pause: 'M6 4.5v7M10 4.5v7',
  ban: 'M4.5 4.5l7 7',
  dash: 'M4 8h8',
  dot: 'M8 7.9v.2',
  question: 'M6 6.2a2 2 0 1 1 2.9 1.8c-.6.3-.9.7-.9 1.4M8 11.8v.1',
  copy: 'M5.5 5.5V3h7.5v7.5h-2.5M3 5.5h7.5V13H3z',
  link: 'M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2-2a2.6 2.6 0 0 0-3.7-3.7l-.9.9M9.2 6.8a2.6 2.6 0 0 0-3.7 0l-2 2a2.6 2.6 0 0 0 3.7 3.7l.9-.9',
  again: 'M13 8a5 5 0 1 1-1.5-3.6M13 2.5v2.6h-2.6',
  out: 'M9 3h4v4M13 3L7.5 8.5M11 9.5V13H3V5h3.5',
  sun: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM8 1.5V3M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1',
  moon: 'M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5z',
  half: 'M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11',
  back: 'M9.5 3.5L5 8l4.5 4.5',
  cause: 'M4 3v5.5h8M9.5 6l2.5 2.5L9.5 11',
  warn: 'M8 3.5v5.2M8 11.6v.2',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name, className }: { name: IconName; className?: string }) {
  return (
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false" className={`icon ${className ?? ''}`}>
      <path d={PATHS[name]} />
    </svg>
  )
}
