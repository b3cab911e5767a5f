"""Write the dashboards into their roles."""

from dashboards import write

write()
