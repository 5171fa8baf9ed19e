"""The admin, and an API. `/api/token/` and what is below it destrier answers itself."""

from django.contrib import admin
from django.urls import include, path
from notes.views import Me, Notes, Report
from rest_framework.routers import SimpleRouter

router = SimpleRouter()
router.register("notes", Notes, basename="note")

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include(router.urls)),
    path("api/me/", Me.as_view()),
    path("api/report/", Report.as_view()),
]
