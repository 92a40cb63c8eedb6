"""Tests of controllers/scheduler."""
