"""The addresses of the Django site."""

from django.contrib import admin
from django.http import HttpResponse
from django.urls import path

urlpatterns = [path("", lambda request: HttpResponse("Hello, world!")), path("admin/", admin.site.urls)]
