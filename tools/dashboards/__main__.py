"""Write the dashboards into the role."""

from dashboards import write

write()
