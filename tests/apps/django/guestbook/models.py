"""What is kept."""

from django.db import models


class Entry(models.Model):
    """An entry."""

    text = models.CharField(max_length=200)
