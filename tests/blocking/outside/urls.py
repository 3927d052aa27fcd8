from django.http import HttpRequest, HttpResponse
from django.urls import path
from outside.sending import announce


def say(request: HttpRequest, group: str, text: str) -> HttpResponse:
    announce(group, text)
    return HttpResponse("said")


urlpatterns = [path("<str:group>/<str:text>/", say)]
