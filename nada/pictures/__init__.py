"""Pictures for people: conversion, grids, filmstrips and charts."""
