// What every view can reach: the store, the route and the server's clock.
import React, { createContext, useContext, useEffect, useState, useSyncExternalStore } from 'react'
import { formatRoute, parseRoute, type Route, type View } from '../logic/route'
import { Store, type State } from '../logic/store'

type Page = { store: Store; state: State; route: Route }
/** The filter and the place of the list when it was last seen: the way back leads there. */
export const lastList = { params: {} as Record<string, string>, offset: 0 }

const PageContext = createContext<Page | null>(null)

export function usePage(): Page {
  const page = useContext(PageContext)
  if (!page) throw new Error('usePage is called outside of PageProvider')
  return page
}

export function PageProvider({ children }: { children: React.ReactNode }) {
  const [route, setRoute] = useState(() => parseRoute(window.location.hash))
  const [store] = useState(() => new Store(route))
  const state = useSyncExternalStore(store.subscribe, store.snapshot)
  useEffect(() => store.start(), [store])
  useEffect(() => {
    const follow = () => setRoute(parseRoute(window.location.hash))
    window.addEventListener('hashchange', follow)
    return () => window.removeEventListener('hashchange', follow)
  }, [])
  if (route.view === 'executions' && !route.id) lastList.params = route.params
  useEffect(() => store.go(route), [store, route])
  return <PageContext.Provider value={{ store, state, route }}>{children}</PageContext.Provider>
}

export function navigate(view: View, id: string | null = null, params: Record<string, string | undefined> = {}) {
  window.location.hash = formatRoute(view, id, params)
}

/** Change parameters of the route in place; `undefined` takes one out. A change of a filter is a step of its own to go back to. */
export function setParams(route: Route, change: Record<string, string | undefined>) {
  // Two changes may come before the page is drawn again: the address has the first, `route` not yet.
  const now = parseRoute(window.location.hash)
  const params = now.view === route.view && now.id === route.id ? now.params : route.params
  navigate(route.view, route.id, { ...params, ...change })
}

/** The server's clock, again every `everyS` seconds. */
export function useNow(everyS = 5): number {
  const { store } = usePage()
  const [, tick] = useState(0)
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), everyS * 1000)
    return () => clearInterval(timer)
  }, [everyS])
  return store.now()
}

/** Whether a media query holds. */
export function useMedia(query: string): boolean {
  const [holds, setHolds] = useState(() => window.matchMedia(query).matches)
  useEffect(() => {
    const list = window.matchMedia(query)
    const follow = () => setHolds(list.matches)
    follow()
    list.addEventListener('change', follow)
    return () => list.removeEventListener('change', follow)
  }, [query])
  return holds
}
