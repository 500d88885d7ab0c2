import React from 'react'
import { createRoot } from 'react-dom/client'
import App from './App'
import './index.css'

document.documentElement.lang = 'en'
// What a view could not show is said in its place (Boundary); the console keeps where it happened.
const onCaughtError = (error: unknown, info: { componentStack?: string }) => console.warn(error, info.componentStack)
createRoot(document.getElementById('root')!, { onCaughtError }).render(<App />)
