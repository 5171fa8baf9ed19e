"""The API. No view looks at a token: `request.user` is a user of Django's, `request.auth` has the verified claims."""

from django.db.models import Count
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ModelViewSet

from .models import Note


class NoteSerializer(serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["id", "text", "written"]


class Notes(ModelViewSet):
    """Those of the user."""

    serializer_class = NoteSerializer

    def get_queryset(self):
        return Note.objects.filter(owner=self.request.user).order_by("id")

    def perform_create(self, serializer):
        serializer.save(owner=self.request.user)


class Me(APIView):
    def get(self, request):
        return Response({"username": request.user.get_username(), "roles": request.auth["roles"]})


class Report(APIView):
    """For members of the group `editors`: a rule in destrier.toml says so, and nothing here."""

    def get(self, request):
        return Response(Note.objects.values("owner__username").annotate(notes=Count("id")).order_by("owner__username"))
