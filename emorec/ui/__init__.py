"""The web page of `emorec ui`: drop a video, look at the answer.

  sessions   the files of each visitor, removed when the visit ends
  jobs       work in a thread, watched and stopped from outside
  analysis   one video to all that the page shows of it, within limits
  files      what may be downloaded
  view       results as the data that the page draws
  page       the page itself, on Gradio
  guard      what the server lets in and out
  server     starts and ends it all

Nothing here leaves the machine: no telemetry, no font or script of another
host, and a content security policy that makes the browser refuse any.
"""
