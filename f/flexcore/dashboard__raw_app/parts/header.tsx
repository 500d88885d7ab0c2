// The line on top: whose data, how fresh it is, the only spinner of the page, theme and link.
import React, { useEffect, useState } from 'react'
import { MAX_JOBS_PER_HOUR } from '../logic/budget'
import { formatAge, formatDuration } from '../logic/format'
import { copyText } from './basics'
import { usePage } from './context'
import { Icon } from './icon'

type Theme = 'system' | 'light' | 'dark'
const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' }
const STORED_AS = 'flexcore.theme'

function storedTheme(): Theme {
  try {
    const stored = window.localStorage.getItem(STORED_AS)
    return stored === 'light' || stored === 'dark' ? stored : 'system'
  } catch {
    return 'system'
  }
}

function ThemeSwitch() {
  const [theme, setTheme] = useState<Theme>(storedTheme)
  useEffect(() => {
    const root = document.documentElement
    if (theme === 'system') root.removeAttribute('data-theme')
    else root.setAttribute('data-theme', theme)
    try {
      window.localStorage.setItem(STORED_AS, theme)
    } catch {
      // The choice then lasts as long as the page.
    }
  }, [theme])
  const mark = ({ system: 'half', light: 'sun', dark: 'moon' } as const)[theme]
  return (
    <button type="button" className="quiet" onClick={() => setTheme(NEXT[theme])} aria-label={`Theme: ${theme}. Switch to ${NEXT[theme]}`} title={`Theme: ${theme}`}>
      <Icon name={mark} />
    </button>
  )
}

/** The address to send: inside Windmill's frame that of the page around it. */
export function sendableLink(server: string | null, workspace: string | null): string {
  const hash = window.location.hash
  try {
    if (window.parent !== window) return window.parent.location.href.split('#')[0] + hash
  } catch {
    // A sandboxed page may not look outside: build the address from what the server told.
    if (server && workspace) {
      return `${server.replace(/\/$/, '')}/apps_raw/get/f/flexcore/dashboard?workspace=${encodeURIComponent(workspace)}${hash}`
    }
  }
  return window.location.href
}

function Freshness() {
  const { state, store } = usePage()
  const [, tick] = useState(0)
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 1000)
    return () => clearInterval(timer)
  }, [])
  const now = Date.now() / 1000
  const budget = `at most ${MAX_JOBS_PER_HOUR} jobs an hour, ${state.left} of them at once`
  const next = state.nextAt === null ? '' : `again in ${formatDuration(Math.max(0, Math.round(state.nextAt - now)))}`
  const hint = next ? `${budget}, ${next}` : budget
  const text = state.reading
    ? 'Reading…'
    : state.hidden
      ? 'Paused'
      : state.readAt === null
        ? ''
        : `Read ${formatAge(new Date(state.readAt * 1000).toISOString(), now * 1000)}${next && store.wait() > 0 ? `, ${next}` : ''}`
  return (
    <>
      <span className="freshness" title={hint}>
        {text}
      </span>
      <button
        type="button"
        className="quiet"
        onClick={() => void store.refresh()}
        aria-label={state.reading ? 'Reading' : 'Read again'}
        title={`Read again (${hint})`}
        aria-busy={state.reading}
      >
        <Icon name="again" className={state.reading ? 'spinner' : undefined} />
      </button>
    </>
  )
}

export function Header() {
  const { state } = usePage()
  const { server, version } = state.data
  const [linked, setLinked] = useState<boolean | null>(null)
  const link = async () => {
    setLinked(await copyText(sendableLink(server?.url ?? null, server?.workspace ?? null)))
    setTimeout(() => setLinked(null), 2000)
  }
  return (
    <header>
      <h1>flexcore</h1>
      {server && (
        <p className="where" title={`flexcore ${version}${server.version ? `, Windmill ${server.version}` : ''}`}>
          {server.engine === 'embedded' ? 'embedded engine' : server.workspace}
          <span className="who"> as {server.user}</span>
        </p>
      )}
      <div className="tools">
        <Freshness />
        <button type="button" className="quiet" onClick={link} title="Copy a link to this view" aria-label="Copy a link to this view">
          <Icon name={linked === null ? 'link' : linked ? 'check' : 'cross'} />
          <span role="status" className="hidden">
            {linked === null ? '' : linked ? 'Link copied' : 'The browser does not allow copying'}
          </span>
        </button>
        <ThemeSwitch />
      </div>
    </header>
  )
}
