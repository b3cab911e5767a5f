"""A guest book, as Django's users write it: served over HTTPS under its own name only."""

import pymysql

pymysql.install_as_MySQLdb()
