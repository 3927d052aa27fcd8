"""The paths of the site."""

from django.urls import path

from tests.site import views

urlpatterns = [
    path("", views.hello),
    path("café/", views.hello),
    path("about-request/", views.about_request),
    path("body/", views.body_digest),
    path("read-in-pieces/", views.read_in_pieces),
    path("form/", views.form),
    path("guarded-form/", views.guarded_form),
    path("big/<int:size>/", views.big),
    path("stream/<int:count>/<int:size>/", views.stream),
    path("stream-async/", views.stream_async),
    path("events-async/", views.events_async),
    path("stream-breaks/<int:after>/", views.stream_breaks),
    path("ticks/", views.ticks),
    path("file/<int:size>/", views.file),
    path("status/<int:status>/", views.status),
    path("redirect/", views.redirect_home),
    path("cookies/", views.cookies),
    path("count-visits/", views.count_visits),
    path("log-in/<str:name>/", views.log_in),
    path("who-am-i/", views.who_am_i),
    path("message/", views.leave_message),
    path("error/", views.error),
    path("missing/", views.missing),
    path("async-view/", views.async_view),
    path("later/", views.later),
    path("tell/<str:channel>/", views.tell),
    path("tell-group/<str:group>/", views.tell_group),
    path("page/", views.page),
    path("slow/<int:milliseconds>/", views.slow),
    path("thread/", views.thread),
]
