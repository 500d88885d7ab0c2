// Where the page stands, as a hash that can be sent: #/executions?status=failure, #/executions/ID?tab=logs&step=b.

export const VIEWS = [
  ['executions', 'Executions'],
  ['runtimes', 'Runtimes'],
  ['comparison', 'Comparison'],
  ['selection', 'Selection'],
  ['deployments', 'Deployments'],
  ['orphans', 'Orphans'],
  ['stops', 'Stops'],
] as const
export type View = (typeof VIEWS)[number][0]

export type Route = { view: View; id: string | null; params: Record<string, string> }

/** A hash that names no view is the list of executions: a link is never a dead end. */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2)
  const [name = '', id = ''] = path.split('/')
  const view = VIEWS.find(([known]) => known === name)?.[0] ?? 'executions'
  const params: Record<string, string> = {}
  new URLSearchParams(query).forEach((value, key) => {
    if (value) params[key] = value
  })
  return { view, id: view === name && id ? decode(id) : null, params }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

export function formatRoute(view: View, id: string | null = null, params: Record<string, string | undefined> = {}) {
  const query = new URLSearchParams()
  for (const [key, value] of Object.entries(params)) if (value) query.set(key, value)
  const tail = query.toString()
  return `#/${view}${id ? `/${encodeURIComponent(id)}` : ''}${tail ? `?${tail}` : ''}`
}
