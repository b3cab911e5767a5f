"""The page."""

from django.http import JsonResponse
from django.urls import path

from guestbook.models import Entry


def index(request):
    """All entries, after the one that is posted."""
    if request.method == "POST":
        Entry.objects.create(text=request.body.decode())
    return JsonResponse({"entries": list(Entry.objects.values_list("text", flat=True))})


urlpatterns = [path("", index)]
