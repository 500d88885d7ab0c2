import React from 'react'
import { Boundary } from './parts/basics'
import { PageProvider, usePage } from './parts/context'
import { Header } from './parts/header'
import { Navigation } from './parts/navigation'
import { Notices } from './parts/notices'
import { VIEWS, type View } from './logic/route'
import { ComparisonView } from './views/comparison'
import { DeploymentsView } from './views/deployments'
import { ExecutionView } from './views/execution'
import { ExecutionsView } from './views/executions'
import { OrphansView } from './views/orphans'
import { RuntimesView } from './views/runtimes'
import { SelectionView } from './views/selection'
import { StopsView } from './views/stops'

const SHOWN: Record<View, () => React.ReactNode> = {
  executions: ExecutionsView,
  runtimes: RuntimesView,
  comparison: ComparisonView,
  selection: SelectionView,
  deployments: DeploymentsView,
  orphans: OrphansView,
  stops: StopsView,
}

function Page() {
  const { route, state } = usePage()
  const Shown = route.view === 'executions' && route.id ? ExecutionView : SHOWN[route.view]
  const name = VIEWS.find(([view]) => view === route.view)![1]
  return (
    <div className="page">
      <a className="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById('main')?.focus())}>
        Skip to content
      </a>
      <Header />
      <Navigation />
      <main id="main" tabIndex={-1}>
        <Notices />
        <Boundary key={`${route.view}/${route.id}`} name={name} read={state.data}>
          <Shown />
        </Boundary>
      </main>
    </div>
  )
}

export default function App() {
  return (
    <PageProvider>
      <Page />
    </PageProvider>
  )
}
